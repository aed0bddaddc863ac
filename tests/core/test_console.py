"""Progress bars: one display for all running tasks, and none without a terminal."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console

from phylocli.core import console


@pytest.fixture
def terminal(monkeypatch):
    """A terminal that records its output."""
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, color_system=None, width=120, highlight=False, soft_wrap=True)
    monkeypatch.setattr(console, "progress_is_shown", lambda: True)
    monkeypatch.setattr(console, "stderr", lambda: screen)
    return out


def test_progress_bars_may_be_nested_with_messages_above(terminal):
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


def test_progress_bar_is_removed_on_an_error(terminal):
    with pytest.raises(ValueError, match="no"), console.progress_task("work", total=1):
        raise ValueError("no")
    assert console._display._bars is None


def test_square_brackets_are_no_markup(terminal):
    with console.progress_task("[bold]x", total=1, unit="[red]y") as task:
        task.advance()
    assert "[bold]x" in terminal.getvalue() and "[red]y" in terminal.getvalue()


def test_no_progress_bar_without_a_terminal(capsys):
    assert list(console.progress(range(3), "counting")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_messages_are_printed_by_level(capsys):
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


def test_library_messages_go_to_the_program_without_progress_bars(capsys, caplog, monkeypatch):
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


def wait_for(said, capsys):
    """Return what was printed once it contains a text."""
    printed = ""
    for _ in range(200):
        printed += capsys.readouterr().err
        if said in printed:
            return printed
        time.sleep(0.02)
    raise AssertionError(f"{said!r} was not printed, but {printed!r}")


def test_a_log_gets_one_line_a_minute_about_all_that_runs_even_where_nothing_moves(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.2)
    monkeypatch.setattr(console, "_reporter", console._Reporter())
    with console.progress_task("families", total=40, unit="families") as outer:
        outer.advance(10)
        with console.progress_task("placing 1,000 points"):
            printed = wait_for("placing", capsys)
            assert re.fullmatch(
                r"(families: 10 of 40 families, \d+/s, \d s left; placing 1,000 points: \d s so far\n)+", printed
            )
            assert wait_for("placing", capsys).count("\n") == 1


def test_messages_and_progress_for_machines_are_one_json_object_a_line(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.1)
    monkeypatch.setattr(console, "_reporter", console._Reporter())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    console.show_messages(console.NORMAL, as_json=True)
    with console.progress_task("trees", total=40, unit="families") as task:
        task.update(status=lambda: console.Status(failed=2, workers=3, dashboard="http://127.0.0.1:8787/status"))
        task.advance(10)
        printed = wait_for('"progress"', capsys)
        logging.getLogger("phylocli.tree").warning("two\nlines of “text”")
        task.advance(30)
    printed += capsys.readouterr().err
    lines = [json.loads(line) for line in printed.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    warning = next(line for line in lines if line["level"] == "warning")
    assert (warning["message"], warning["logger"]) == ("two\nlines of “text”", "phylocli.tree")
    first, last = lines[0], lines[-1]
    assert (first["event"], first["done"], first["total"], first["unit"]) == ("progress", 10, 40, "families")
    assert (first["failed"], first["workers"], first["dashboard"]) == (2, 3, "http://127.0.0.1:8787/status")
    assert first["seconds_left"] >= 0 and first["per_second"] > 0
    assert (last["event"], last["task"], last["done"]) == ("finished", "trees", 40)


def test_machines_are_told_of_a_task_that_ended_by_an_exception_and_of_its_name_and_detail(capsys):
    console.show_messages(console.NORMAL, as_json=True)
    with pytest.raises(ValueError, match="no"), console.progress_task("growing") as task:
        task.update(detail="3 so far")
        raise ValueError("no")
    next(console.progress(iter("ab"), "reading"))  # whose consumer stops early
    failed, stopped = map(json.loads, capsys.readouterr().err.splitlines())
    assert (failed["event"], failed["task"], failed["detail"]) == ("failed", "growing", "3 so far")
    assert failed["message"].startswith("growing, 3 so far: ")
    assert (stopped["event"], stopped["task"]) == ("finished", "reading")


def test_traceback_is_a_field_for_machines_and_follows_the_message_for_people(capsys):
    for as_json in (True, False):
        console.show_messages(console.VERBOSE, as_json=as_json)
        try:
            raise ValueError("[red]no")
        except ValueError:
            logging.getLogger("phylocli.tree").exception("failed")
        printed = capsys.readouterr().err
        if as_json:
            line = json.loads(printed)
            assert (line["message"], line["level"]) == ("failed", "error")
            printed = f"error: {line['message']}\n{line['traceback']}"
        assert re.fullmatch(r"error: failed\nTraceback .*\n(.*\n)+ValueError: \[red\]no\n", printed)


def test_rates_of_slow_work_are_per_hour():
    rates = [console.rate(1, seconds) for seconds in (0.1, 1, 60, 61, 3600, 90_000)]
    assert rates == ["10/s", "1.0/s", "1.0/min", "59.0/h", "1.0/h", "0.04/h"]


def test_the_display_shows_rate_failures_workers_and_dashboard(terminal):
    with console.progress_task("trees", total=40, unit="families") as task:
        task.update(status=lambda: console.Status(failed=2, workers=3, dashboard="http://x:8787"))
        for _ in range(20):
            task.advance()
            time.sleep(0.01)
    assert re.search(r"20/40 families, \d+/s .*2 failed, 3 workers, http://x:8787", terminal.getvalue())


def test_many_short_tasks_are_reported_like_a_long_one(monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.3)
    monkeypatch.setattr(console, "_reporter", console._Reporter())
    start = time.monotonic()
    while time.monotonic() - start < 1.0:
        with console.progress_task("one of many", total=2):
            time.sleep(0.05)
    assert 2 <= capsys.readouterr().err.count("one of many") <= 3


@pytest.mark.parametrize("level", [console.QUIET, None])
def test_quiet_commands_and_programs_that_show_no_messages_log_no_progress(level, monkeypatch, capsys):
    monkeypatch.setattr(console, "EVERY", 0.05)
    if level is None:
        console.hide_messages()
    else:
        console.show_messages(level)
    with console.progress_task("work", total=2) as task:
        task.advance()
        time.sleep(0.2)
    assert capsys.readouterr().err == ""
    assert not any(thread.name == "progress" for thread in threading.enumerate())


@pytest.mark.parametrize(
    ("total", "unit", "done", "said"),
    [
        (100, "rows", 20, "work: 20 of 100 rows, 2.0/s, 40 s left"),
        (None, "rows", 20_000, "work: 20,000 rows in 10 s, 2,000/s"),
        (4_000_000, "bytes", 1_000_000, "work: 1.0 of 4.0 MB, 0.1 MB/s, 30 s left"),
        (100, "rows", 0, "work: 10 s so far"),
    ],
)
def test_a_line_of_progress_says_how_far_and_how_long(total, unit, done, said, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    task = console._LoggedTask("work", total, unit)
    task.advance(done)
    now[0] = 10.0
    assert str(task) == said


def test_times_are_rounded_for_people():
    assert [console.duration(s) for s in (5, 99, 300, 12_000)] == ["5 s", "99 s", "5 min", "3 h 20 min"]


def test_every_line_of_a_command_that_fails_is_json_with_details_too(cli, tmp_path):
    result = cli("pairs", tmp_path / "none.sto", "--log-json", "-v")
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert result.exit_code != 0 and lines[-1]["level"] == "error" and "Traceback" in lines[-1]["traceback"]
