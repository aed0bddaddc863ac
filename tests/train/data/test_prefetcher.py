"""Prefetching of batches: independent of the number of workers, errors with their cause, and no leftover processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest

from phylocli.config.train import TrainConfig
from phylocli.core.errors import PhylocliError
from phylocli.formats import write_families
from phylocli.formats.family import Family
from phylocli.train.data import prefetcher
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.loading import load_corpus
from phylocli.train.data.prefetcher import Prefetcher, choose_workers, prefetched
from phylocli.train.data.types import PairBatch


class Broken(Corpus):
    """A corpus one of whose batches cannot be made, and one of whose batches ends the process."""

    def __init__(self, corpus: Corpus) -> None:
        self.__dict__.update(corpus.__dict__)

    def batch(self, step: int) -> PairBatch:
        if step == 3:
            raise ZeroDivisionError("batch 3")
        if step == 5 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(step)


@pytest.fixture
def corpus(simulate: Callable[..., Family], tmp_path: Path) -> Corpus:
    write_families([simulate(f"PF{i:05d}", 20) for i in range(4)], tmp_path / "f.sto")
    settings = TrainConfig.of(None, {"recipe": "simclr", **{"batch": {"pairs": 8}}})
    return load_corpus([tmp_path / "f.sto"], settings)


def contents(batch: PairBatch) -> tuple[bytes, ...]:
    return (*(t.tobytes() for t in batch.a + batch.b), batch.family.tobytes(), batch.distance.tobytes())


def children() -> set[int]:
    return {process.pid or 0 for process in multiprocessing.active_children()}


@pytest.mark.filterwarnings("error")
def test_a_thread_and_processes_make_the_same_batches_in_order_and_end(corpus: Corpus) -> None:
    expected = [contents(corpus.batch(step)) for step in range(2, 9)]
    before = children()
    for workers in (0, 2):
        with prefetched(corpus, range(2, 9), workers) as batches:
            assert [contents(batch) for batch in batches] == expected
            assert batches.take_waited() > 0
            assert batches.take_waited() == 0
            with pytest.raises(StopIteration):
                next(batches)
    assert children() == before


def test_errors_in_a_batch_are_raised_with_their_cause(corpus: Corpus) -> None:
    before = children()
    with prefetched(Broken(corpus), range(8), 0) as batches:
        first = [next(batches) for _ in range(3)]
        assert contents(first[2]) == contents(corpus.batch(2))
        with pytest.raises(ZeroDivisionError, match="batch 3"):
            next(batches)
    with pytest.raises(ZeroDivisionError, match="batch 3") as caught, prefetched(Broken(corpus), range(3, 8), 1) as batches:
        next(batches)
    assert "in batch" in str(caught.value.__cause__)  # the worker's own trace
    with pytest.raises(PhylocliError, match="died"), prefetched(Broken(corpus), range(4, 8), 1) as batches:
        list(batches)
    assert children() == before


def test_a_worker_that_dies_between_two_batches_is_an_error_with_a_way_out(corpus: Corpus) -> None:
    before = children()
    with pytest.raises(PhylocliError, match="died") as caught, prefetched(corpus, range(8), 1) as batches:
        next(batches)
        pool, ready = batches._pool, list(batches._waiting)
        assert isinstance(pool, ProcessPoolExecutor)
        wait(ready, timeout=120)
        next(iter(pool._processes.values())).kill()
        for _ in range(1200):
            if pool._broken:
                break
            time.sleep(0.1)
        next(batches)  # is there already; but the one after the last that was asked for cannot be asked for any more
    assert caught.value.fix is not None and "--resume" in caught.value.fix
    assert children() == before


def test_workers_end_with_a_trainer_that_is_killed(corpus: Corpus, tmp_path: Path) -> None:
    def trainer() -> None:
        with prefetched(corpus, range(1000), 1) as batches:
            next(batches)
            pool = batches._pool
            assert isinstance(pool, ProcessPoolExecutor)
            (tmp_path / "worker").write_text(str(next(iter(pool._processes))))
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=trainer)
    process.start()
    process.join(120)
    process.kill()  # if it hangs, its end would be waited for at the end of all tests
    process.join()
    assert (tmp_path / "worker").is_file()
    worker = int((tmp_path / "worker").read_text())
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its trainer")


def test_how_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetcher, "available_cores", lambda: 16)
    assert choose_workers(-1, "cpu") == 0
    assert [choose_workers(-1, "cuda", n) for n in (1, 4, 8, 16)] == [4, 3, 1, 0]
    assert [choose_workers(k, "cuda") for k in (0, 7)] == [0, 7]


def test_no_more_batches_are_prepared_than_requested() -> None:
    from concurrent.futures import ThreadPoolExecutor

    made: list[int] = []

    def make(step: int) -> PairBatch:
        made.append(step)
        return PairBatch([], [], np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))

    with ThreadPoolExecutor(1) as pool:
        batches = Prefetcher(pool, make, range(10), 3)
        next(batches)
    assert made == [0, 1, 2, 3]
