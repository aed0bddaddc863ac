"""The order of pieces: read ahead, bundled if they are short, repeated if their worker dies, and returned in input order."""

from __future__ import annotations

import contextlib
import functools
import logging
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from phylocli.config.parallel import ClusterConfig
from phylocli.core import console
from phylocli.core.errors import MissingDependencyError, PhylocliError
from phylocli.core.threads import available_cores
from phylocli.executors.journal import Journal
from phylocli.executors.summary import summarise
from phylocli.executors.work import STRIKES, Died, Done, Engine, Piece, Work

logger = logging.getLogger(__name__)

Argument = TypeVar("Argument")
Result = TypeVar("Result")

HELD_BYTES = 1 << 28
"""Maximum size of results that wait for an earlier piece, before no more pieces are started."""

RECORDED_MOST = 4096
"""Maximum number of pieces in the journal that wait for an earlier piece, before no more are read."""

BUNDLE_SECONDS = 0.25
"""Duration of a bundle of short pieces, so that the cost of sending it, some milliseconds, does not matter."""

BUNDLE_MOST = 256
"""Maximum number of pieces of a bundle."""


def run_pieces(
    work: Work[Argument, Result],
    pieces: Iterable[tuple[str, Argument]],
    *,
    jobs: int = 1,
    cluster: str | None = None,
    title: str = "",
    total: int | None = None,
    bar: bool = True,
    journal: Journal[Argument, Result] | None = None,
) -> Generator[tuple[str, Result | PhylocliError], None, None]:
    """Apply a function to many pieces, and yield label and result, or failure, of each, in input order.

    Args:
        work: the function.
        pieces: label and argument of each; read only as far ahead as needed.
        jobs: number of processes; 1 uses the current process, 0 one process per core.
        cluster: a cluster instead of processes, see `ClusterConfig.parse`.
        title: description in the progress display, and in the table at its end; empty shows neither.
        bar: whether to show progress, rather than the table only.
        total: number of pieces, if known, for the time left.
        journal: results of an interrupted run, which are not computed again, and where new ones are recorded.

    Raises:
        UsageError: the cluster does not exist.
        MissingDependencyError: Dask, or what a worker needs, is not installed.
        PhylocliError: the scheduler was lost, or no worker came.

    Examples:
        >>> from phylocli.executors import Work, run_pieces
        >>> list(run_pieces(Work(abs), [("a", -1), ("b", 2)]))
        [('a', 1), ('b', 2)]
    """
    numbered = ((index, label, argument) for index, (label, argument) in enumerate(pieces))
    state: Callable[[], console.Status] = console.Status
    if cluster is None and jobs == 1:
        results = _here(work, numbered, journal)
    else:
        engine = _engine(work, jobs, cluster)
        results, state = _Run(work, engine, journal).results(numbered), functools.partial(_state, engine)
    if not title:
        yield from results
        return
    start, done, failed = time.monotonic(), 0, 0
    before = journal.used if journal is not None else 0

    def status() -> console.Status:
        return replace(state(), failed=failed)

    with contextlib.ExitStack() as stack:
        shown = stack.enter_context(console.progress_task(title, total, work.unit)) if bar else None
        if shown is not None:
            shown.update(status=status)
        for label, result in results:
            yield label, result
            done += 1
            failed += isinstance(result, PhylocliError)
            if shown is not None:
                shown.advance()
    known = journal.used - before if journal is not None else 0
    summarise(
        title,
        done=done - failed - known,
        failed=failed,
        known=known,
        kept="from the interrupted run",
        seconds=time.monotonic() - start,
        divided=jobs != 1 or cluster is not None,
    )


def run_all(work: Work[Argument, Result], pieces: Iterable[tuple[str, Argument]], **options: Any) -> Iterator[Result]:
    """Yield the result of each piece, in input order; the first failure ends the others, and is raised.

    Args:
        work: the function.
        pieces: label and argument of each.
        **options: see `run_pieces`.

    Raises:
        PhylocliError: the failure of a piece, and the errors of `run_pieces`.

    Examples:
        >>> from phylocli.executors import Work, run_all
        >>> list(run_all(Work(abs), [("a", -1), ("b", 2)]))
        [1, 2]
    """
    results = run_pieces(work, pieces, **options)
    with contextlib.closing(results):
        for _, result in results:
            if isinstance(result, PhylocliError):
                raise result
            yield result


def _state(engine: Engine) -> console.Status:
    return console.Status(workers=engine.workers, dashboard=engine.dashboard)


def _engine(work: Work[Any, Any], jobs: int, cluster: str | None) -> Engine:
    if cluster is None:
        from phylocli.executors.processes import Processes

        return Processes(work, jobs or available_cores())
    from phylocli.executors.dask_cluster import DaskCluster

    return DaskCluster(work, ClusterConfig.parse(cluster))


def _here(
    work: Work[Argument, Result], pieces: Iterator[tuple[int, str, Argument]], journal: Journal[Argument, Result] | None
) -> Iterator[tuple[str, Result | PhylocliError]]:
    for index, label, argument in pieces:
        if index == 0 and work.prepare is not None:
            work.prepare()
        known = journal.find(argument) if journal is not None else None
        if known is not None:
            yield label, known
            continue
        try:
            result = work.function(argument)
        except MissingDependencyError:
            raise
        except PhylocliError as error:
            yield label, error
            continue
        if journal is not None:
            journal.add(argument, result)
        yield label, result


@dataclass(frozen=True)
class _Recorded:
    """A result that the journal has; it is read when it is its turn."""

    key: bytes


class _Run(Generic[Argument, Result]):
    """The pieces of one call of `run_pieces` on an engine."""

    def __init__(self, work: Work[Argument, Result], engine: Engine, journal: Journal[Argument, Result] | None) -> None:
        self._work, self._engine, self._journal = work, engine, journal
        self._again: deque[Piece] = deque()  # pieces whose worker died
        self._running: dict[int, list[Piece]] = {}
        self._finished: dict[int, tuple[str, bytes | _Recorded | PhylocliError]] = {}
        self._recorded = 0  # number of those in the journal
        self._keys: dict[int, bytes] = {}  # of pieces that the journal does not have yet
        self._held = 0  # bytes of finished results
        self._tickets = 0
        self._seconds, self._counted = 0.0, 0.0
        self._largest = 0  # number of pieces of a bundle so far
        self._exhausted = False

    def results(self, pieces: Iterator[tuple[int, str, Argument]]) -> Iterator[tuple[str, Result | PhylocliError]]:
        """Yield the results in input order."""
        turn = 0
        with self._engine as engine:
            while True:
                while len(self._running) < engine.capacity and (bundle := self._bundle(pieces)):
                    self._tickets += 1
                    self._running[self._tickets] = bundle
                    engine.start(self._tickets, bundle)
                if self._running:
                    for ticket, outcome in engine.finished(wait=turn not in self._finished):
                        self._settle(self._running.pop(ticket), outcome)
                if turn in self._finished:  # one at a time, so that workers do not wait while the caller takes results
                    yield self._taken(turn)
                    turn += 1
                if self._exhausted and not (self._running or self._again or self._finished):
                    return

    def _bundle(self, pieces: Iterator[tuple[int, str, Argument]]) -> list[Piece]:
        """Return the next pieces to start; none if there are none, or too many results wait."""
        if self._again:
            return [self._again.popleft()]  # alone, so that it is known which piece ends its worker
        if self._exhausted or self._held > HELD_BYTES or self._recorded >= RECORDED_MOST:
            return []
        mean = self._seconds / self._counted if self._counted else BUNDLE_SECONDS
        # At most twice as many as have been computed in one: a few short pieces say little about the next ones.
        size = max(1, min(BUNDLE_MOST, 2 * self._largest, int(BUNDLE_SECONDS / max(mean, 1e-6))))
        bundle: list[Piece] = []
        while len(bundle) < size:
            found = next(pieces, None)
            if found is None:
                self._exhausted = True
                break
            index, label, argument = found
            if self._journal is not None:
                key = self._journal.key(argument)
                if key in self._journal:
                    self._finished[index] = label, _Recorded(key)
                    self._recorded += 1
                    if self._recorded >= (RECORDED_MOST if bundle else BUNDLE_MOST):
                        break  # they are yielded first
                    continue
                self._keys[index] = key
            bundle.append(Piece(index, label, pickle.dumps(argument, protocol=5)))
        return bundle

    def _settle(self, bundle: list[Piece], outcome: Done | Died) -> None:
        if isinstance(outcome, Died):
            if outcome.strikes:
                others = f" and {len(bundle) - 1} others" if len(bundle) > 1 else ""
                logger.info(f"{bundle[0].label}{others}: the worker died")
            for piece in bundle:
                self._strike(piece, outcome.strikes, alone=len(bundle) == 1)
            return
        self._seconds = 0.9 * self._seconds + outcome.seconds
        self._counted = 0.9 * self._counted + len(bundle)
        self._largest = max(self._largest, len(bundle))
        for piece, result in zip(bundle, outcome.results, strict=True):
            if isinstance(result, bytes):
                self._held += len(result)
            if piece.index in self._keys and isinstance(result, bytes):
                assert self._journal is not None
                self._journal.put(self._keys.pop(piece.index), pickle.loads(result))  # noqa: S301  of a trusted cluster
            self._finished[piece.index] = piece.label, result

    def _strike(self, piece: Piece, strikes: int, *, alone: bool) -> None:
        """Run a piece again, unless it has ended too many workers."""
        piece.strikes += strikes if alone else min(strikes, 1)
        if piece.strikes < STRIKES:
            self._again.append(piece)
            return
        error = PhylocliError(
            f"{piece.label}: {piece.strikes} workers died on it",
            why="the system may have ended them for lack of memory, or a library crashed",
            fix=self._work.fix,
        )
        self._finished[piece.index] = piece.label, error

    def _taken(self, turn: int) -> tuple[str, Result | PhylocliError]:
        label, result = self._finished.pop(turn)
        if isinstance(result, bytes):
            self._held -= len(result)
            return label, pickle.loads(result)  # noqa: S301  of a trusted cluster
        if isinstance(result, _Recorded):
            assert self._journal is not None
            self._recorded -= 1
            known = self._journal.get(result.key)
            assert known is not None
            return label, known
        return label, result
