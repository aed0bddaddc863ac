"""Training speed: residues per second, and the fraction of the device's matrix-product rate used by the model."""

from __future__ import annotations

import functools
import logging
import time

import torch

from phylocli.train.data.types import PairBatch, TrainingBatch
from phylocli.train.parallel.strategy import Trainable
from phylocli.train.report import flops
from phylocli.train.report.row import Row
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)


# Dense bfloat16 matrix products without sparsity, operations per second, from the data sheets; the first match is used.
_DATA_SHEETS = (
    ("B200", 2.25e15),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
)
_SECONDS = 0.15


def peak_rate(device: torch.device, precision: torch.dtype) -> float:
    """Return the device's peak rate of matrix products, in operations per second.

    Known GPUs in bfloat16 use the value of the data sheet. Otherwise the rate is measured once per process, for a fraction
    of a second, on a CPU with torch's number of threads.
    """
    if device.type == "cuda" and precision == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        known = [rate for words, rate in _DATA_SHEETS if words.lower() in name.lower()]
        if known:
            return known[0]
    return _measured(device, precision, torch.get_num_threads())


@functools.cache
def _measured(device: torch.device, precision: torch.dtype, threads: int) -> float:
    size = 1024 if device.type == "cpu" else 8192
    a, b = (torch.ones(size, size, dtype=precision, device=device) for _ in range(2))

    def once() -> float:
        _wait(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        return time.perf_counter() - start

    once()
    end = time.perf_counter() + _SECONDS
    best = once()
    while time.perf_counter() < end:
        best = min(best, once())  # the minimum is least affected by other load
    return 2 * size**3 / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Meter:
    """Adds `residues_per_second`, `flops` and `mfu` to the rows of steps.

    The host synchronises with a GPU only every few steps, so rates are averages over the steps since the last
    synchronisation. They include waiting for data, but not validation and checkpoints. `flops` counts the operations of the
    model, see `phylocli.train.report.flops`. `mfu` is the model FLOP utilisation (Chowdhery et al. 2022, arXiv 2204.02311):
    `flops` per second divided by the device's peak rate.

    Args:
        task: the task, on its device and with its precision.
        work: the operation counts of the model from `flops.count`; None omits `flops` and `mfu`.
        processes: number of processes that share each batch.
    """

    def __init__(self, task: Trainable, work: flops.Work | None, *, processes: int = 1) -> None:
        self.task, self.work = task, work
        if work is not None:
            self.peak = peak_rate(task.device, task.execution.precision) * processes
            logger.debug(f"peak rate of matrix products for mfu: {self.peak / 1e9:,.0f} GFLOP/s")
        self.start()

    def start(self) -> None:
        """Start a new measurement interval; the time since the last `settle` is not counted."""
        self._since = time.perf_counter()

    def note(self, row: Row, batches: list[TrainingBatch]) -> None:
        """Add the number of operations of a step to its row."""
        if self.work is not None:
            assert isinstance(self.task, ContrastiveTask)
            row["flops"] = sum(flops.of_batch(self.work, self.task, b) for b in batches if isinstance(b, PairBatch))

    def settle(self, rows: list[Row]) -> None:
        """Add the rates of the current interval to its rows; the device must have completed these steps."""
        if not rows:
            return
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        rates = {"residues_per_second": sum(row["residues"] for row in rows) / seconds}
        if self.work is not None:
            rates["mfu"] = sum(row["flops"] for row in rows) / seconds / self.peak
        for row in rows:
            row.update(rates)
        self._since = now
