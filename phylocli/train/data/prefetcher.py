"""Prefetching of batches, in order, by a thread or by worker processes.

A batch is a function of the seed and the step, so batches do not depend on the number of workers.
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
from phylocli.train.data.types import BatchSource, TrainingBatch

AUTO = -1
MOST_AUTO = 4


def choose_workers(wanted: int, device: str, processes: int = 1) -> int:
    """Return the number of worker processes that prepare batches; 0 uses a thread of the training process.

    Args:
        wanted: the requested number, or -1 for automatic: a thread if training uses the CPU, otherwise up to four processes.
        device: `cpu`, `cuda` or `mps`.
        processes: number of training processes on this machine, each of which has its own workers.
    """
    if wanted != AUTO:
        return wanted
    return 0 if device == "cpu" else min(MOST_AUTO, max(0, available_cores() // processes - 1))


@contextlib.contextmanager
def _explain_worker_death() -> Iterator[None]:
    """Convert the error of a pool whose worker has died into a PhylocliError with a suggested fix."""
    try:
        yield
    except BrokenProcessPool as error:
        raise PhylocliError(
            "a worker process that prepares batches died",
            why="the system may have killed it for lack of memory",
            fix="use fewer workers (--set batch.workers=1) or a thread (--set batch.workers=0), then continue with --resume",
        ) from error


class Prefetcher:
    """An iterator over the batches of some steps, prepared ahead by a pool.

    Args:
        pool: the thread or process pool.
        make: returns the batch of a step.
        steps: the steps, in order.
        depth: number of batches to prepare ahead.
    """

    def __init__(self, pool: Executor, make: Callable[[int], TrainingBatch], steps: range, depth: int) -> None:
        self._pool, self._make, self._steps = pool, make, iter(steps)
        self._waiting: deque[Future[TrainingBatch]] = deque()
        self._waited = 0.0
        for _ in range(depth):
            self._ask()

    def _ask(self) -> None:
        for step in self._steps:
            with _explain_worker_death():  # a pool rejects new tasks if a worker has died since the last batch
                self._waiting.append(self._pool.submit(self._make, step))
            return

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> TrainingBatch:
        if not self._waiting:
            raise StopIteration
        before = time.monotonic()
        with _explain_worker_death():
            batch = self._waiting.popleft().result()
        self._waited += time.monotonic() - before
        self._ask()
        return batch

    def take_waited(self) -> float:
        """Return the time spent waiting for batches since the last call, in seconds."""
        waited, self._waited = self._waited, 0.0
        return waited


@contextlib.contextmanager
def prefetched(corpus: BatchSource, steps: range, workers: int = 0) -> Iterator[Prefetcher]:
    """Prepare the batches of some steps ahead within the block; all workers end with the block.

    An error in a worker is raised when its batch is requested; with processes, its cause has the traceback of the worker.

    Args:
        corpus: the source of the batches.
        steps: the steps, in order.
        workers: number of worker processes; 0 uses a thread.
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


_corpus: BatchSource | None = None  # set in worker processes


def _start_worker(corpus: BatchSource) -> None:
    global _corpus  # noqa: PLW0603  sent once per worker instead of with every task
    _corpus = corpus
    # Batch systems send SIGTERM to all processes. The trainer needs its workers until the checkpoint is saved.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _make(step: int) -> TrainingBatch:
    assert _corpus is not None
    return _corpus.batch(step)
