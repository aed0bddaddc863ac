"""Families in several processes: results in the order of the input, few families in memory, failures as values."""

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

_AHEAD = 4  # families that wait for each process: enough to keep it busy, few enough to stay small

_AGAIN = 5.0  # seconds after which a time limit is called again: a library's callbacks may have swallowed the first call

_prepared: set[tuple[object, object]] = set()  # preparations done in this process


class OutOfTime(BaseException):
    """A family has used up its time. Not an `Exception`, so that no library handles it."""


def ordered_map(
    work: Callable[[Family, Options], Family],
    families: Iterable[Family],
    options: Options,
    jobs: int,
    timeout: float | None = None,
    prepare: Callable[[Options], None] | None = None,
) -> Iterator[tuple[str, Result]]:
    """Yield (label, result or failure) for each family in its order.

    Args:
        work: a module-level function.
        families: read only as far ahead as the processes need.
        options: passed to every call.
        jobs: processes; 1 works in this one, 0 takes one for each core.
        timeout: seconds of wall time for each family; one that takes longer is a failure. It is stopped between two
            instructions of Python, so that a single long call of a compiled library ends first. Signals reach the main
            thread only: called from another, `jobs` of 1 takes a process as well.
        prepare: a module-level function, called once in each process before the first family with a time limit: it loads
            the libraries that `work` will, since one whose loading is cut short may crash the process later.
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
        # One thread per family: families are processed in parallel, and for such small matrices synchronising threads costs
        # many times what they save.
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
    """Return the controller of NumPy's linear algebra threads; finding the libraries takes longer than a small family."""
    import numpy  # noqa: F401  whose library is to be found

    return ThreadpoolController()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` within the block once it has taken that long; main thread only. None has no end."""
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
        if left:  # the caller had its own alarm
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 1e-3), interval)
