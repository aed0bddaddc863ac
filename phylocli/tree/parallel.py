"""Parallel processing of families: results in input order, few families in memory, failures as values."""

from __future__ import annotations

import ctypes
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from threadpoolctl import ThreadpoolController

from phylocli.core.errors import PhylocliError
from phylocli.executors import Work, run_pieces
from phylocli.executors.families import FamilyJournal
from phylocli.formats.family import Family

Options = TypeVar("Options")
Result = Family | PhylocliError

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
    *,
    cluster: str | None = None,
    journal: FamilyJournal | None = None,
    title: str = "",
) -> Iterator[tuple[str, Result]]:
    """Apply a function to families in parallel, and yield label and result or failure of each, in input order.

    Args:
        work: a module-level function.
        families: the families, read only as far ahead as needed.
        options: passed to every call of `work`.
        jobs: number of processes; 1 uses the current process, 0 one process per core.
        timeout: time limit for each family in seconds of wall time; a family that exceeds it is a failure. Calls of compiled
            libraries are not interrupted.
        prepare: a module-level function that loads the libraries of `work`; called once in each process before the first
            family with a time limit, because interrupting the import of a library may crash the process later, and in each
            worker, which is not charged for its family if it dies meanwhile, and not used if it has no such library.
        cluster: a cluster instead of processes, see `ClusterConfig.parse`.
        journal: results of an interrupted run.
        title: description in the progress display.
    """
    early = None
    if prepare is not None and (timeout is not None or cluster is not None or jobs != 1):
        early = functools.partial(_prepare, prepare, options)
    described: Work[Family, Family] = Work(functools.partial(_attempt, work, options, timeout), early)
    pieces = ((family.label, family) for family in families)
    yield from run_pieces(described, pieces, jobs=jobs, cluster=cluster, journal=journal, title=title)


def _prepare(prepare: Callable[[Options], None], options: Options) -> None:
    if (prepare, options) not in _prepared:
        prepare(options)
        _prepared.add((prepare, options))


def _attempt(work: Callable[[Family, Options], Family], options: Options, timeout: float | None, family: Family) -> Family:
    try:
        # One thread per family: families are processed in parallel, and with small matrices thread synchronisation costs
        # more than it saves.
        with _thread_pools().limit(limits=1), time_limit(timeout):
            return work(family, options)
    except OutOfTime:
        raise PhylocliError(f"{family.label}: stopped after {timeout:g} s", fix="raise --timeout") from None
    except MemoryError:
        what = f"{family.label}: out of memory"
        raise PhylocliError(what, fix="use --engine veryfasttree, or fewer --jobs") from None


@functools.cache
def _thread_pools() -> ThreadpoolController:
    """Return the controller of NumPy's BLAS threads; cached, because searching for the libraries is slow."""
    import numpy  # noqa: F401  loads the library to be found

    return ThreadpoolController()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` if the block takes longer than `seconds`; None sets no limit."""
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        with _time_limit_of_thread(seconds):
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


@contextmanager
def _time_limit_of_thread(seconds: float) -> Iterator[None]:
    """The same outside the main thread, which alone handles signals: another thread raises the exception in this one."""
    thread, ended, lock = threading.get_ident(), threading.Event(), threading.Lock()

    def watch() -> None:
        wait = seconds
        while not ended.wait(wait):
            with lock:
                if not ended.is_set():
                    _raise_in(thread, OutOfTime)
            wait = _AGAIN

    watcher = threading.Thread(target=watch, daemon=True, name="phylocli-time-limit")
    watcher.start()
    try:
        yield
    finally:
        with lock:
            ended.set()
            _raise_in(thread, None)  # takes back one that has not been raised yet
        watcher.join()


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None if kind is None else ctypes.py_object(kind))
