"""Parallel processing of families: results in input order, few families in memory, failures as values."""

from __future__ import annotations

import functools
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from threadpoolctl import ThreadpoolController

from phylocli.core.errors import PhylocliError
from phylocli.core.processes import WorkerPool
from phylocli.core.threads import available_cores
from phylocli.formats.family import Family

Options = TypeVar("Options")
Result = Family | PhylocliError

_AHEAD = 4  # number of queued families per process

_AGAIN = 5.0  # interval in seconds at which the time limit is signalled again, because a library may swallow the exception

_prepared: set[tuple[object, object]] = set()  # preparations completed in this process


class OutOfTime(BaseException):
    """A family exceeds its time limit. Not an `Exception`, so that libraries do not catch it."""


def ordered_map(
    work: Callable[[Family, Options], Family],
    families: Iterable[Family],
    options: Options,
    jobs: int,
    timeout: float | None = None,
    prepare: Callable[[Options], None] | None = None,
) -> Iterator[tuple[str, Result]]:
    """Apply a function to families in parallel, and yield label and result or failure of each, in input order.

    Args:
        work: a module-level function.
        families: the families, read only as far ahead as needed.
        options: passed to every call of `work`.
        jobs: number of processes; 1 uses the current process, 0 one process per core.
        timeout: time limit for each family in seconds of wall time; a family that exceeds it is a failure. Calls of compiled
            libraries are not interrupted. The time limit uses signals, so that outside the main thread a separate process is
            used even if `jobs` is 1.
        prepare: a module-level function that loads the libraries of `work`; called once in each process before the first
            family with a time limit, because interrupting the import of a library may crash the process later.
    """
    if jobs == 1 and (timeout is None or threading.current_thread() is threading.main_thread()):
        for family in families:
            yield family.label, _attempt(work, family, options, timeout, prepare)
        return
    count = jobs or available_cores()
    waiting: deque[tuple[str, Future[Result]]] = deque()
    with WorkerPool(count) as pool:
        for family in families:
            waiting.append((family.label, pool.submit(_attempt, work, family, options, timeout, prepare)))
            if len(waiting) >= count * _AHEAD:
                label, future = waiting.popleft()
                yield label, future.result()
        while waiting:
            label, future = waiting.popleft()
            yield label, future.result()


def _attempt(
    work: Callable[[Family, Options], Family],
    family: Family,
    options: Options,
    timeout: float | None,
    prepare: Callable[[Options], None] | None,
) -> Result:
    try:
        if prepare is not None and timeout is not None and (prepare, options) not in _prepared:
            prepare(options)
            _prepared.add((prepare, options))
        # One thread per family: families are processed in parallel, and with small matrices thread synchronisation costs
        # more than it saves.
        with _thread_pools().limit(limits=1), time_limit(timeout):
            return work(family, options)
    except PhylocliError as error:
        return error
    except OutOfTime:
        return PhylocliError(f"{family.label}: stopped after {timeout:g} s", fix="raise --timeout")
    except MemoryError:
        return PhylocliError(f"{family.label}: out of memory", fix="use --engine veryfasttree, or fewer --jobs")


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the controller of NumPy's BLAS threads; cached, because searching for the libraries is slow."""
    import numpy  # noqa: F401  loads the library to be found

    return ThreadpoolController()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` if the block takes longer than `seconds`; main thread only. None sets no limit."""
    if seconds is None:
        yield
        return

    def stop(signum: int, frame: object) -> NoReturn:
        raise OutOfTime

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, stop)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # restore the caller's alarm
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), interval)
