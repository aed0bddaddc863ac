"""Many independent pieces in processes: order, repetition after a worker's death, quarantine, and memory."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError
from phylocli.executors import Work, pieces, processes, run_all, run_pieces, summary, work
from phylocli.executors.processes import Processes


def square(number: int) -> int:
    if number == 3:
        raise BadInputError("3 is bad", why="so it is", fix="mend it")
    return number * number


def fatal(number: int) -> int:
    """End the worker at 7."""
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fatal_once(argument: tuple[int, str]) -> int:
    """End the worker at 1, 5, 9, …, the first time: a file says whether it is."""
    number, folder = argument
    if number % 4 == 1:
        with (Path(folder) / f"{number}").open("a") as file:
            file.write("x")
        if len((Path(folder) / f"{number}").read_text()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return number


def missing() -> None:
    raise MissingDependencyError("no such library", fix="install it")


def numbered(count: int) -> list[tuple[str, int]]:
    return [(f"p{i}", i) for i in range(count)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_have_the_order_of_the_input_and_errors_are_values(jobs: int) -> None:
    found = list(run_pieces(Work(square), numbered(6), jobs=jobs))
    assert [label for label, _ in found] == [f"p{i}" for i in range(6)]
    assert [result for _, result in found if not isinstance(result, PhylocliError)] == [0, 1, 4, 16, 25]
    assert str(found[3][1]) == "3 is bad\nwhy: so it is\nfix: mend it"


def test_piece_whose_worker_is_killed_is_computed_by_another(tmp_path: Path) -> None:
    arguments = [(f"p{i}", (i, str(tmp_path))) for i in range(12)]
    found = list(run_pieces(Work(fatal_once), arguments, jobs=2))
    assert [result for _, result in found] == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "5", "9"]


def test_death_of_a_process_that_is_idle_goes_unnoticed() -> None:
    with Processes(Work(abs), 1) as engine:
        for ticket in range(3):
            engine.start(ticket, [work.Piece(0, "p", pickle.dumps(-ticket))])
            ((_, outcome),) = engine.finished()
            assert isinstance(outcome, work.Done) and outcome.results == [pickle.dumps(ticket, protocol=5)]
            (pool,) = engine._pools
            (process,) = pool._processes.values()
            process.kill()
            while not pool._broken:  # type: ignore[attr-defined]
                time.sleep(0.01)


def half_written(argument: tuple[int, str]) -> int:
    """End the worker in the middle of its first result."""
    number, folder = argument
    if number == 1 and not (Path(folder) / "died").exists():
        (Path(folder) / "died").touch()

        def send_half(self: Connection, data: bytes) -> None:
            os.write(self.fileno(), data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        Connection._send = send_half  # type: ignore[attr-defined]
    return number


def test_death_in_the_middle_of_a_result_is_noticed(tmp_path: Path) -> None:
    arguments = [(f"p{i}", (i, str(tmp_path))) for i in range(3)]
    assert list(run_pieces(Work(half_written), arguments, jobs=2)) == [("p0", 0), ("p1", 1), ("p2", 2)]
    assert (tmp_path / "died").exists()


def dies_at_first(folder: str) -> None:
    """End the first four workers while they start."""
    with (Path(folder) / "starts").open("a") as file:
        file.write("x")
    if len((Path(folder) / "starts").read_text()) <= 4:
        os.kill(os.getpid(), signal.SIGKILL)


def test_death_of_a_process_that_starts_is_not_the_fault_of_its_piece(tmp_path: Path) -> None:
    described = Work(abs, functools.partial(dies_at_first, str(tmp_path)))
    with Processes(described, 1) as engine:
        run: pieces._Run[int, int] = pieces._Run(described, engine, None)
        assert [result for _, result in run.results(iter([(0, "p", -1)]))] == [1]
    assert len((tmp_path / "starts").read_text()) == 5


def test_processes_that_all_die_at_the_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STILLBORN", 3)
    described = Work(abs, functools.partial(os._exit, 1), fix="buy memory")
    with pytest.raises(PhylocliError, match="3 worker processes died while they started") as caught:
        list(run_pieces(described, numbered(4), jobs=2))
    assert caught.value.fix == "buy memory"


def test_piece_that_ends_three_workers_fails_and_the_others_complete() -> None:
    found = dict(run_pieces(Work(fatal, fix="buy memory"), numbered(10), jobs=2))
    failure = found.pop("p7")
    assert isinstance(failure, PhylocliError)
    assert (failure.what, failure.fix) == ("p7: 3 workers died on it", "buy memory")
    assert list(found.values()) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_table_at_the_end_counts_what_has_become_of_the_pieces(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("phylocli"), "propagate", True)
    caplog.set_level(logging.INFO, "phylocli")
    list(run_pieces(Work(square), numbered(6), title="trees"))
    assert "failed" not in caplog.text  # not for a few pieces in this process
    list(run_pieces(Work(square), numbered(summary.MANY), title="trees"))
    messages = dict.fromkeys(record.getMessage() for record in caplog.records)
    names, values = (message.split() for message in messages)
    assert names == ["stage", "done", "failed", "time", "rate"]
    assert values[:3] == ["trees", "99", "1"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_missing_library_is_an_error_of_the_run_and_not_of_each_piece(jobs: int) -> None:
    with pytest.raises(MissingDependencyError, match="no such library"):
        list(run_pieces(Work(square, missing), numbered(3), jobs=jobs))


class Unsent(Exception):
    """An error that is pickled, but not unpickled."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"code {number}")


def broken(error: str) -> None:
    raise RuntimeError("out of GPU memory") if error == "plain" else Unsent(number=7)


@pytest.mark.parametrize(("error", "said"), [("plain", "^out of GPU memory$"), ("unsent", "^Unsent: code 7$")])
def test_error_of_the_preparation_is_an_error_of_the_run_and_not_the_death_of_a_worker(error: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        list(run_pieces(Work(square, functools.partial(broken, error)), numbered(3), jobs=2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_first_failure_is_raised_where_all_results_are_needed(jobs: int) -> None:
    results = run_all(Work(square), numbered(6), jobs=jobs)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(BadInputError, match="3 is bad"):
        next(results)


class Recorded:
    """An engine that computes a bundle when it is asked for results, last first, and notes the bundles."""

    dashboard, workers, capacity = "", 2, 2

    def __init__(self, seconds: float) -> None:
        self.seconds, self.bundles, self.waiting = seconds, list[int](), list[tuple[int, list[work.Piece]]]()

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *error: object) -> None: ...

    def start(self, ticket: int, bundle: list[work.Piece]) -> None:
        self.bundles.append(len(bundle))
        self.waiting.append((ticket, bundle))

    def finished(self, *, wait: bool = True) -> list[tuple[int, work.Done | work.Died]]:
        if not self.waiting:
            return []
        ticket, bundle = self.waiting.pop()
        done = work.perform(square, [piece.argument for piece in bundle])
        return [(ticket, work.Done(done.results, self.seconds * len(bundle)))]


@pytest.mark.parametrize(("seconds", "largest"), [(1.0, 1), (0.01, 25), (0.0, pieces.BUNDLE_MOST)])
def test_short_pieces_are_sent_in_bundles_and_long_ones_alone(seconds: float, largest: int) -> None:
    engine = Recorded(seconds)
    run: pieces._Run[int, int] = pieces._Run(Work(square), engine, None)  # type: ignore[arg-type]
    found = list(run.results((i, f"p{i}", i + 4) for i in range(2000)))
    assert [result for _, result in found] == [(i + 4) ** 2 for i in range(2000)]
    assert abs(max(engine.bundles) - largest) <= 1
    assert all(size <= max(1, 2 * max(engine.bundles[:k], default=0)) for k, size in enumerate(engine.bundles))


def test_no_more_pieces_are_started_while_too_many_results_wait_for_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "HELD_BYTES", 1000)
    read = 0

    def source() -> Iterator[tuple[int, str, int]]:
        nonlocal read
        for i in range(5000):
            read += 1
            yield i, f"p{i}", i + 4

    class FirstLast(Recorded):
        """The first piece takes longer than all that may be started meanwhile."""

        def finished(self, *, wait: bool = True) -> list[tuple[int, work.Done | work.Died]]:
            self.waiting.sort(key=lambda item: item[0] != 1)
            return super().finished()

    run: pieces._Run[int, int] = pieces._Run(Work(square), FirstLast(1.0), None)  # type: ignore[arg-type]
    assert next(run.results(source())) == ("p0", 16)
    assert 50 < read < 300  # a result takes some bytes
