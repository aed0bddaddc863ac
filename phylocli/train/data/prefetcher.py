"""Batches made ahead of the steps that need them, in their order, by a thread or by processes.

A batch is a function of the seed and the step, so it does not matter who makes it: the same run with other workers has the
same batches.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self

from phylocli.core.errors import PhylocliError
from phylocli.core.processes import WorkerPool
from phylocli.core.threads import available_cores
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.types import PairBatch

AUTO = -1
MOST_AUTO = 4


def choose_workers(wanted: int, device: str, processes: int = 1) -> int:
    """Return the number of processes that prepare batches; 0: one thread of the trainer.

    Args:
        wanted: a number, or -1: a thread if training runs on the CPU, which needs the cores itself, else up to four
            processes.
        device: `cpu`, `cuda` or `mps`.
        processes: of the run on this machine, each of which has its own workers.
    """
    if wanted != AUTO:
        return wanted
    return 0 if device == "cpu" else min(MOST_AUTO, max(0, available_cores() // processes - 1))


@contextlib.contextmanager
def _death_explained() -> Iterator[None]:
    """Convert the error of a pool whose process has died into one that the user can act on."""
    try:
        yield
    except BrokenProcessPool as error:
        raise PhylocliError(
            "a process that makes batches died",
            why="the system may have ended it for lack of memory",
            fix="use fewer, --set batch.workers=1, or a thread, --set batch.workers=0; then continue with --resume",
        ) from error


class Prefetcher:
    """The batches of some steps, one after the other.

    Args:
        pool: who makes them.
        make: returns the batch of a step.
        steps: in order.
        depth: number of batches prepared ahead.
    """

    def __init__(self, pool: Executor, make: Callable[[int], PairBatch], steps: range, depth: int) -> None:
        self._pool, self._make, self._steps = pool, make, iter(steps)
        self._waiting: deque[Future[PairBatch]] = deque()
        self._waited = 0.0
        for _ in range(depth):
            self._ask()

    def _ask(self) -> None:
        for step in self._steps:
            with _death_explained():  # of a worker since the last batch: a broken pool takes no more work
                self._waiting.append(self._pool.submit(self._make, step))
            return

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PairBatch:
        if not self._waiting:
            raise StopIteration
        before = time.monotonic()
        with _death_explained():
            batch = self._waiting.popleft().result()
        self._waited += time.monotonic() - before
        self._ask()
        return batch

    def take_waited(self) -> float:
        """Return the time spent waiting for batches since the last call, in seconds."""
        waited, self._waited = self._waited, 0.0
        return waited


@contextlib.contextmanager
def prefetched(corpus: Corpus, steps: range, workers: int = 0) -> Iterator[Prefetcher]:
    """Give the batches of some steps, made ahead; no thread or process of it outlives the block.

    Errors in a batch are raised where the batch is requested; with processes, the cause of the error shows its place in the
    worker.

    Args:
        corpus: the source of the batches.
        steps: in order.
        workers: processes; 0: one thread.
    """
    if workers == 0:
        with ThreadPoolExecutor(1, thread_name_prefix="phylocli-batches") as pool:
            try:
                yield Prefetcher(pool, corpus.batch, steps, 2)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        return
    with WorkerPool(workers, _start_worker, (corpus,), grace=0) as processes:
        yield Prefetcher(processes, _make, steps, 2 * workers)


_corpus: Corpus | None = None  # of this worker process


def _start_worker(corpus: Corpus) -> None:
    global _corpus  # noqa: PLW0603  one process, one corpus
    _corpus = corpus
    # A batch system's SIGTERM reaches all processes; the trainer, which saves a checkpoint first, ends its workers.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _make(step: int) -> PairBatch:
    assert _corpus is not None
    return _corpus.batch(step)
