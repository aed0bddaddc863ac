"""Progress bars: one display for all that run, and none where nobody would see it."""

import io
import logging
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from phylocli.core import console


@pytest.fixture
def terminal(monkeypatch):
    """A terminal that keeps what is written to it."""
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, color_system=None, width=120, highlight=False, soft_wrap=True)
    monkeypatch.setattr(console, "progress_is_shown", lambda: True)
    monkeypatch.setattr(console, "stderr", lambda: screen)
    return out


def test_bars_may_be_nested_and_talk_goes_above_them(terminal):
    with console.progress_task("families", total=3, unit="families") as outer:
        outer.advance(2)
        with console.progress_task("PF00042 full", total=4_000_000, unit="bytes") as inner:
            inner.advance(3_000_000)
            logging.getLogger("phylocli.fetch").info("a message")
    text = terminal.getvalue()
    assert "2/3 families" in text
    assert "3.0/4.0 MB" in text
    assert "a message" in text
    assert console._display._bars is None


def test_bars_of_several_threads_share_one_display(terminal):
    ready = threading.Barrier(4)

    def work(number):
        with console.progress_task(f"file {number}", total=10, unit="parts") as task:
            ready.wait(timeout=10)
            for _ in range(10):
                task.advance()
            ready.wait(timeout=10)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert all(f"file {n}" in terminal.getvalue() for n in range(4))
    assert console._display._bars is None and console._display._running == 0


def test_a_bar_goes_away_with_an_error(terminal):
    with pytest.raises(ValueError, match="no"), console.progress_task("work", total=1):
        raise ValueError("no")
    assert console._display._bars is None


def test_square_brackets_are_no_markup(terminal):
    with console.progress_task("[bold]x", total=1, unit="[red]y") as task:
        task.advance()
    assert "[bold]x" in terminal.getvalue() and "[red]y" in terminal.getvalue()


def test_nothing_is_drawn_where_there_is_no_terminal(capsys):
    assert list(console.progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_messages_are_printed_from_their_level_on_with_what_they_are(capsys):
    logger = logging.getLogger("phylocli.pairs.draw")
    for level, printed in [
        (console.VERBOSE, "a detail\na message\nwarning: a [warning]\nerror: an error\n"),
        (console.NORMAL, "a message\nwarning: a [warning]\nerror: an error\n"),
        (console.QUIET, "warning: a [warning]\nerror: an error\n"),
        (console.SILENT, "error: an error\n"),
    ]:
        console.show_messages(level)
        logger.debug("a detail")
        logger.info("a message")
        logger.warning("a [warning]")
        logger.error("an error")
        assert capsys.readouterr().err == printed


def test_a_level_holds_within_its_block(capsys):
    with console.at_level(console.SILENT):
        logging.getLogger("phylocli.train").warning("not shown")
    logging.getLogger("phylocli.train").warning("shown")
    assert capsys.readouterr().err == "warning: shown\n"


def test_as_a_library_messages_go_where_the_program_says_and_no_bar_is_drawn(capsys, caplog, monkeypatch):
    console.hide_messages()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with caplog.at_level(logging.INFO):
        logging.getLogger("phylocli.tree").info("for the program's own handlers")
    assert set(caplog.messages) == {"for the program's own handlers"}
    assert capsys.readouterr().err == ""
    assert not console.progress_is_shown()


def test_importing_the_package_sets_up_no_handler():
    code = "import logging, phylocli; print(logging.getLogger('phylocli').handlers, logging.root.handlers)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[] []\n"
