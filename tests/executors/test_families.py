"""The journal of a command on families: results of an interrupted run are not computed again."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.executors import Work, pieces, run_pieces
from phylocli.executors.families import FamilyJournal, family_journal
from phylocli.formats import read_families
from phylocli.formats.family import Family
from phylocli.formats.stockholm import write_family
from phylocli.simulate import simulate_families


def annotate(calls: str, family: Family) -> Family:
    with Path(calls).open("a") as file:
        file.write(f"{family.label}\n")
    if family.accession == "SIM00002":
        raise BadInputError("SIM00002 fails")
    return replace(family, notes=[*family.notes, "seen"])


def results(families: list[Family], calls: Path, journal: FamilyJournal | None, jobs: int = 1) -> Iterator[str]:
    """Yield the records, or the messages of failures."""
    work = Work(functools.partial(annotate, str(calls)))
    for _, found in run_pieces(work, ((f.label, f) for f in families), jobs=jobs, journal=journal):
        text = io.StringIO()
        text.write(str(found)) if isinstance(found, PhylocliError) else write_family(found, text)
        yield text.getvalue()


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_command_continues_with_the_results_on_disk(tmp_path: Path, jobs: int) -> None:
    families = [found.family for found in simulate_families(number=6, tips=4, length=20)]
    whole = list(results(families, tmp_path / "whole", None))
    output, calls, partial = tmp_path / "out.sto", tmp_path / "calls", tmp_path / "out.sto.partial"
    with pytest.raises(KeyboardInterrupt), family_journal(output, "test", {"x": 1}) as journal:
        for number, _ in enumerate(results(families, calls, journal), 1):
            if number == 4:
                raise KeyboardInterrupt
    partial.write_bytes(partial.read_bytes() + b"a line that was cut off")
    with family_journal(output, "test", {"x": 1}) as journal:
        assert list(results(families, calls, journal, jobs)) == whole
    assert "SIM00002 fails" in whole
    # The failure is tried again, and nothing else.
    assert sorted(calls.read_text().split()) == sorted(["SIM00002", *(family.label for family in families)])
    assert not partial.exists()


def test_results_with_other_options_are_computed_anew(tmp_path: Path) -> None:
    families = [found.family for found in simulate_families(number=1, tips=4, length=20)]
    for options, count in (({"x": 1}, 1), ({"x": 2}, 2)):
        with contextlib.suppress(KeyboardInterrupt), family_journal(tmp_path / "o.sto", "test", options) as journal:
            list(results(families, tmp_path / "calls", journal))
            raise KeyboardInterrupt
        assert len((tmp_path / "calls").read_text().split()) == count


def interrupted(families: list[Family], calls: Path, output: Path, error: BaseException, **options: Any) -> None:
    with contextlib.suppress(type(error)), family_journal(output, "test", {}, **options) as journal:
        list(results(families, calls, journal))
        raise error


def test_results_are_computed_anew_if_a_file_that_they_depend_on_has_other_content(tmp_path: Path) -> None:
    families = [found.family for found in simulate_families(number=1, tips=4, length=20)]
    file, calls = tmp_path / "file", tmp_path / "calls"
    options: list[dict[str, Any]] = [{"files": [file]}, {"file_of": lambda family: file}]
    for option in options:
        calls.write_text("")
        for content, count in (("a", 1), ("a", 1), ("b", 2)):
            file.write_text(content)
            interrupted(families, calls, tmp_path / "o.sto", KeyboardInterrupt(), **option)
            assert len(calls.read_text().split()) == count


def test_an_error_of_usage_leaves_the_results_of_an_earlier_command(tmp_path: Path) -> None:
    families = [found.family for found in simulate_families(number=1, tips=4, length=20)]
    output, calls = tmp_path / "o.sto", tmp_path / "calls"
    for error, kept in ((UsageError("wrong"), False), (KeyboardInterrupt(), True), (UsageError("wrong"), True)):
        interrupted(families, calls, output, error)
        assert Path(f"{output}.partial").exists() == kept


def test_journal_of_a_running_command_is_not_changed(tmp_path: Path) -> None:
    families = [found.family for found in simulate_families(number=3, tips=4, length=20)]
    output, calls, partial = tmp_path / "o.sto", tmp_path / "calls", tmp_path / "o.sto.partial"
    for _ in range(2):  # with a journal of its own, and with one that an interrupted command has left
        with contextlib.suppress(KeyboardInterrupt), family_journal(output, "test", {}) as journal:
            list(results(families, calls, journal))
            with partial.open("ab") as file:
                file.write(b"a line that is being written")
            before = partial.read_bytes()
            with pytest.raises(UsageError, match="another command writes"), family_journal(output, "test", {}):
                pass
            assert partial.read_bytes() == before
            raise KeyboardInterrupt
    with family_journal(output, "test", {}) as journal:
        pass
    assert not partial.exists()


@pytest.mark.parametrize("content", [b"my notes\n", b"phylocli journal 2\n"])
def test_file_of_the_user_is_neither_changed_nor_removed(tmp_path: Path, content: bytes) -> None:
    partial = tmp_path / "o.sto.partial"
    partial.write_bytes(content)
    with (
        pytest.raises(UsageError, match="is not of an interrupted run"),
        family_journal(tmp_path / "o.sto", "test", {}) as journal,
    ):
        list(results([], tmp_path / "calls", journal))
    assert partial.read_bytes() == content


def test_only_some_results_of_the_journal_are_read_before_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "RECORDED_MOST", 5)
    monkeypatch.setattr(pieces, "BUNDLE_MOST", 3)
    families = [found.family for found in simulate_families(number=30, tips=4, length=20)]
    interrupted(families[1:], tmp_path / "calls", tmp_path / "o.sto", KeyboardInterrupt())
    read = 0

    def source() -> Iterator[tuple[str, Family]]:
        nonlocal read
        for read, family in enumerate(families, 1):  # noqa: B007
            yield family.label, family

    with family_journal(tmp_path / "o.sto", "test", {}) as journal:
        work = Work(functools.partial(annotate, str(tmp_path / "calls")))
        found = run_pieces(work, source(), jobs=2, journal=journal)
        next(found)
        assert read <= 10
        assert len(list(found)) == 29


def test_killed_command_goes_on_where_it_was_and_leaves_no_process(
    phylocli_spawn: Callable[..., Popen[bytes]],
    cli: Callable[..., object],
    tmp_path: Path,
    simulated_file: Callable[..., Path],
) -> None:
    source, output, partial = simulated_file(14, 24), tmp_path / "trees.sto", tmp_path / "trees.sto.partial"
    pipe = tmp_path / "pipe.sto"
    os.mkfifo(pipe)
    process = phylocli_spawn("tree", pipe, "--jobs", "2", "-o", output)
    # Open for both: a command that ends early is not waited for, and one that reads waits for more when it is killed.
    with open(os.open(pipe, os.O_RDWR), "w") as stream:
        records = source.read_text().split("//\n")[:7]
        stream.write("".join(f"{record}//\n" for record in records))
        stream.flush()
        end = time.monotonic() + 120
        while not (partial.exists() and partial.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        workers = [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.kill()
        process.wait()
    known = partial.read_bytes().count(b"\n") - 1
    assert 2 <= known <= 7 and not output.exists()
    result = cli("tree", source, "-o", output)
    assert f"{known} of {known} results of an interrupted run were used" in result.output  # type: ignore[attr-defined]
    cli("tree", source, "-o", tmp_path / "whole.sto")
    assert output.read_bytes() == (tmp_path / "whole.sto").read_bytes()
    assert len(list(read_families(output))) == 14
    assert not partial.exists()
    for _ in range(1200):
        if not any(map(is_running, workers)):
            return
        time.sleep(0.1)
    pytest.fail("workers outlived their command")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # not only waiting to be collected
    except OSError:
        return False
