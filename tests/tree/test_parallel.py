"""Worker processes over families: order, failures, and immediate termination."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats.family import Family
from phylocli.tree.parallel import ordered_map


def families(n: int) -> Iterator[Family]:
    for i in range(n):
        yield Family([f"m{i}"], ["MKV"], accession=f"PF{i}")


def note(family: Family, text: str) -> Family:
    if family.accession == "PF1":
        raise BadInputError("PF1 is bad", why="so it is", fix="mend it")
    time.sleep(0.3 if family.accession == "PF0" else 0.0)
    return replace(family, notes=[text])


def linger(family: Family, path: str) -> Family:
    """Start a program that writes its process number and would run for a minute."""
    from phylocli.tree.engines import _external

    if family.accession == "PF0":
        return family
    script = f"import os, time; print(os.getpid(), file=open({path!r} + '.new', 'w'), flush=True); "
    script += f"os.rename({path!r} + '.new', {path!r}); time.sleep(60)"
    _external.run(sys.executable, ["-c", script], folder=Path(path).parent, timeout=None)
    return family


def dawdle(family: Family, seconds: float) -> Family:
    """Take that long over PF1, with exceptions of every kind caught on the way."""
    end = time.monotonic() + seconds
    while family.accession == "PF1" and time.monotonic() < end:
        with contextlib.suppress(Exception):
            time.sleep(0.01)
    return family


@pytest.mark.parametrize("jobs", [1, 2])
def test_family_that_times_out_fails_and_the_others_continue(jobs: int) -> None:
    results = list(ordered_map(dawdle, families(3), 30.0, jobs, timeout=0.5))
    assert [type(result) for _, result in results] == [Family, PhylocliError, Family]
    assert str(results[1][1]) == "PF1: stopped after 0.5 s\nfix: raise --timeout"


def test_time_is_limited_outside_the_main_thread_too() -> None:
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.extend(ordered_map(dawdle, families(2), 30.0, 1, timeout=0.5)))
    thread.start()
    thread.join(60)
    assert [type(result) for _, result in found] == [Family, PhylocliError]  # type: ignore[misc]


def test_a_time_limit_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    list(ordered_map(dawdle, families(2), 0.0, 1, timeout=30.0))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_alarm_of_the_caller_continues_after_a_timeout() -> None:
    before = signal.signal(signal.SIGALRM, lambda signum, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 50.0)
    try:
        list(ordered_map(dawdle, families(2), 0.1, 1, timeout=30.0))
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_results_keep_the_order_of_the_input_and_failures_are_values() -> None:
    for jobs in (1, 2):
        results = list(ordered_map(note, families(5), "done", jobs))
        assert [label for label, _ in results] == [f"PF{i}" for i in range(5)]
        kinds = [type(result) for _, result in results]
        assert kinds == [Family, BadInputError, Family, Family, Family]
        assert str(results[1][1]) == "PF1 is bad\nwhy: so it is\nfix: mend it"


def test_a_closed_pipe_ends_the_work_and_its_programs_at_once(tmp_path: Path) -> None:
    number = tmp_path / "number"
    results = ordered_map(linger, families(2), str(number), 2)
    assert next(results)[0] == "PF0"
    for _ in range(1200):
        if number.exists():
            break
        time.sleep(0.05)
    process = int(number.read_text())
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 60  # which the program would take
    for _ in range(100):  # it is killed at once, and forgotten when the system has collected it
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the program outlived its worker")
