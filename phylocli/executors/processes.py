"""Pieces in processes of this machine, each with a pool of its own: the death of one process affects only its own piece."""

from __future__ import annotations

import pickle
import queue
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any

from phylocli.core.errors import PhylocliError
from phylocli.core.processes import WorkerPool
from phylocli.executors.work import Died, Done, Piece, Work, perform

STILLBORN = 30
"""Number of deaths of starting processes, one after another, before no more are started."""

_work: Work[Any, Any] | None = None  # of this worker process
_unprepared: Exception | None = None


class Processes:
    """Worker processes that end with this one.

    Args:
        work: the function.
        count: number of processes.
    """

    dashboard = ""

    def __init__(self, work: Work[Any, Any], count: int) -> None:
        self._work, self._count = work, count
        self._pools = [self._pool() for _ in range(count)]
        self._idle = list(reversed(self._pools))
        self._running: dict[int, WorkerPool] = {}
        self._begun: dict[WorkerPool, Future[None]] = {}
        self._stillborn = 0
        self._ended: queue.SimpleQueue[tuple[int, Future[Done]]] = queue.SimpleQueue()

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            for pool in self._pools:
                pool.__exit__(None, None, None)
            return
        ending = [threading.Thread(target=pool.end) for pool in self._pools]  # together: each may need its grace
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()

    @property
    def workers(self) -> int:
        """Number of processes."""
        return self._count

    @property
    def capacity(self) -> int:
        """One bundle for each process."""
        return self._count

    def start(self, ticket: int, bundle: list[Piece]) -> None:
        """Start a bundle in an idle process."""
        pool = self._idle.pop()
        arguments = [piece.argument for piece in bundle]
        while True:
            try:
                if pool not in self._begun:
                    self._begun[pool] = pool.submit(_nothing)
                future = pool.submit(_perform, arguments)
                break
            except BrokenProcessPool:  # its process died while it was idle
                pool = self._replaced(pool)
        self._running[ticket] = pool
        future.add_done_callback(lambda done: self._ended.put((ticket, done)))

    def finished(self, *, wait: bool = True) -> list[tuple[int, Done | Died]]:
        """Return the bundles that have ended.

        Raises:
            PhylocliError: process after process dies while it starts.
        """
        found: list[tuple[int, Done | Died]] = []
        while (wait and not found) or not self._ended.empty():
            ticket, future = self._ended.get()
            pool = self._running.pop(ticket)
            try:
                found.append((ticket, future.result()))
                self._stillborn = 0
            except BrokenProcessPool:
                found.append((ticket, Died(self._strikes(pool))))
                pool = self._replaced(pool)
            self._idle.append(pool)
        return found

    def _strikes(self, pool: WorkerPool) -> int:
        """Return how many deaths the pieces of a dead process are to be charged with: none if it died while it started."""
        if self._begun[pool].exception() is None:
            self._stillborn = 0
            return 1
        self._stillborn += 1
        if self._stillborn == STILLBORN:
            raise PhylocliError(
                f"{STILLBORN} worker processes died while they started",
                why="the system may have ended them for lack of memory, or a library cannot be loaded",
                fix=self._work.fix,
            )
        return 0

    def _replaced(self, pool: WorkerPool) -> WorkerPool:
        """Return a new pool for one whose process died."""
        self._pools.remove(pool)
        self._begun.pop(pool, None)
        pool.end()
        self._pools.append(self._pool())
        return self._pools[-1]

    def _pool(self) -> WorkerPool:
        return WorkerPool(1, _begin, (self._work,), grace=self._work.grace, level=self._work.level)


def _begin(work: Work[Any, Any]) -> None:
    global _work, _unprepared  # noqa: PLW0603  one process, one kind of work
    _work = work
    if work.prepare is not None:
        try:
            work.prepare()
        except Exception as error:  # noqa: BLE001  raised by the first bundle: here it would look like a death
            _unprepared = _portable(error)


def _portable(error: Exception) -> Exception:
    """Return an error, or one with its text if it would not arrive: that would look like a death as well."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  an error of this process
    except Exception:  # noqa: BLE001  whatever its class does
        replaced = RuntimeError(f"{type(error).__name__}: {error}")
        replaced.__cause__ = error
        return replaced
    return error


def _nothing() -> None:
    """Show by its end that the process has started."""


def _perform(arguments: list[bytes]) -> Done:
    assert _work is not None
    if _unprepared is not None:
        raise _unprepared
    return perform(_work.function, arguments)
