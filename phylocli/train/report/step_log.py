"""Transfer of step metrics from the device to metrics.parquet, the trackers and the terminal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from phylocli.config.train import TrainConfig
from phylocli.train.data.types import TrainingBatch
from phylocli.train.parallel.world import World
from phylocli.train.report.metrics import MetricsLog, Reporter
from phylocli.train.report.row import Row
from phylocli.train.report.throughput import Meter
from phylocli.train.report.trackers import tracking

logger = logging.getLogger(__name__)


class StepLog:
    """Collects one row of metrics per step.

    The host synchronises with a GPU only every few steps. Rows added since the last call of `settle` are pending: their
    losses may not have been computed yet.

    Args:
        metrics: the table that receives the rows.
        meter: measures throughput.
        world: the processes of the run; all use the rows of rank 0, so that all make the same decisions.
        check: raises an error if a complete row shows that training has diverged.
    """

    def __init__(self, metrics: MetricsLog, meter: Meter, world: World, check: Callable[[Row], None]) -> None:
        self.metrics, self.meter, self.world, self.check = metrics, meter, world, check
        self._pending: list[tuple[Row, dict[str, Tensor]]] = []
        self._spent = self._waited = 0.0

    @contextlib.contextmanager
    def open(self, folder: Path, config: TrainConfig, start: int) -> Iterator[None]:
        """Show progress and send rows to the trackers within the block; `start` is the number of completed steps."""
        self._pending.clear()
        self._spent = self._waited = 0.0
        with (
            Reporter(config.steps, start) as self._reporter,
            tracking(folder, config, start, main=self.world.main) as self.metrics.trackers,
        ):
            self._before = time.monotonic()
            self.meter.start()
            yield
            logger.info(f"waited for data {self._waited / max(self._spent, 1e-9):.1%} of the time")

    def add(self, step: int, rate: float, batches: list[TrainingBatch], terms: dict[str, Tensor], norm: Tensor) -> Row:
        """Add a step and return its row.

        Args:
            step: number of the step, from 1.
            rate: learning rate.
            batches: the batches of the step.
            terms: the objective's terms, on the device.
            norm: gradient norm before clipping, on the device.
        """
        row: Row = {"step": step, "loss": None, "learning_rate": rate, "gradient_norm": None}
        row.update(pairs=sum(map(len, batches)), residues=sum(pairs.residues for pairs in batches))
        self.meter.note(row, batches)
        self._pending.append((row, {**terms, "gradient_norm": norm.detach()}))
        return row

    def settle(self) -> None:
        """Wait for the device and complete the pending rows.

        Raises:
            DivergedError: a loss or gradient is not finite.
        """
        rows = [row for row, _ in self._pending]
        for row, terms in self._pending:
            row.update({name: float(value) for name, value in terms.items()})
        for row, same in zip(rows, self.world.from_main(rows), strict=True):
            row.update(same)
        self.meter.settle(rows)
        for row in rows:
            self.check(row)
            self.metrics.append(row)
        self._pending.clear()

    def show(self, row: Row, waited: float, *, important: bool) -> None:
        """Record the duration of a step and the time `waited` for data, in seconds, and report the step."""
        now = time.monotonic()
        row["seconds"], row["waited"], self._before = now - self._before, waited, now
        self._spent, self._waited = self._spent + row["seconds"], self._waited + waited
        self._reporter.step(row, important=important)
        if not self._pending:
            self.metrics.publish()

    def end_step(self) -> None:
        """Exclude the time since the last step, for example for writing a checkpoint, from the throughput."""
        if not self._pending:
            self.meter.start()
