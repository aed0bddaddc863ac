"""The training loop, `TrainingLoop.run`: data, forward and backward, step, log, validation, checkpoint."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from phylocli.config.train import TrainConfig
from phylocli.formats.streams import OutputError
from phylocli.train import checkpoints, divergence
from phylocli.train.data.prefetcher import choose_workers, prefetched
from phylocli.train.data.types import BatchSource, TrainingBatch
from phylocli.train.divergence import DivergedError
from phylocli.train.parallel.oom import retry_smaller
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.report.row import Row
from phylocli.train.report.step_log import StepLog
from phylocli.train.run_folder import CHECKPOINTS
from phylocli.train.signals import Stop
from phylocli.train.state import TrainState

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_WRITES = 30.0


@dataclass(frozen=True)
class Validation:
    """The validation of a run.

    Attributes:
        run: returns the metrics, such as `val_loss`; see `phylocli.train.validation`.
        items: number of different held-out sequences.
    """

    run: Callable[[], dict[str, float]]
    items: int


@dataclass
class TrainingLoop:
    """The training loop of a run, in one of its processes.

    Attributes:
        folder: the run folder.
        config: the resolved configuration.
        corpus: the source of batches.
        strategy: computes and clips gradients.
        state: model, optimiser, schedule and step.
        log: records one row of metrics per step.
        validation: of held-out items; None if there are none.
        stop: requests to stop early.
    """

    folder: Path
    config: TrainConfig
    corpus: BatchSource
    strategy: Strategy
    state: TrainState
    log: StepLog
    validation: Validation | None
    stop: Stop

    def run(self) -> None:
        """Run all steps after `state.step`.

        Raises:
            DivergedError: the loss or gradient is not finite, or the encoder has collapsed.
            Stopped: a signal requested a stop; a checkpoint is saved.
        """
        config, state, strategy, log = self.config, self.state, self.strategy, self.log
        task, steps, accumulate = state.task, config.steps, config.batch.accumulate
        settle_every = 1 if task.device.type == "cpu" else 10
        data = prefetched(self.corpus, range(state.step * accumulate, steps * accumulate), self.workers)
        task.train()
        with data as batches, log.open(self.folder, config, state.step):
            for step in range(state.step + 1, steps + 1):
                last = step == steps
                pairs = list(itertools.islice(batches, accumulate))

                # Forward and backward.
                terms = self.gradients(pairs)
                norm = strategy.clip(config.optimiser.clip)

                # Step.
                rate = state.schedule.rate(step)
                for group in state.optimiser.param_groups:
                    group["lr"] = rate * group.get("scale", 1.0)
                if self.is_usable(step, terms["loss"], norm):
                    state.optimiser.step()
                    task.after_step()
                else:
                    task.discard_pending()
                state.step = step

                # Log.
                row = log.add(step, rate, pairs, terms, norm)
                if step % settle_every == 0 or last:
                    log.settle()

                # Validate.
                checked = step % config.validation.every == 0 or last
                if checked and self.validation is not None:
                    log.settle()
                    row.update(strategy.world.from_main(self.validation.run()))
                    self.after_validation(row)
                log.show(row, batches.take_waited(), important=checked or last)

                # Checkpoint.
                stopping = self.stop.agreed(strategy.world) and not last
                if stopping or step % config.checkpoints.every == 0 or last:
                    log.settle()
                    self.save()
                elif strategy.world.main:
                    with self.resumable():
                        log.metrics.write_if_older(SECONDS_BETWEEN_WRITES)
                if stopping:
                    raise self.stop.as_error(self.folder, step, steps)
                log.end_step()

    @functools.cached_property
    def workers(self) -> int:
        """Number of processes that prepare batches; 0 uses a thread."""
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: the run's processes on this machine
        return choose_workers(self.config.batch.workers, self.state.task.device.type, here)

    def gradients(self, batches: list[TrainingBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of `batches`, in smaller parts if memory runs out, and return the averaged terms."""
        strategy, task = self.strategy, self.state.task
        strategy.world.check_same("pairs", lambda: b"".join(pairs.content() for pairs in batches))
        longest = max(pairs.longest for pairs in batches)
        return retry_smaller(lambda: strategy.gradients(batches), task.undo_point(), task.execution, longest)

    def is_usable(self, step: int, loss: Tensor, norm: Tensor) -> bool:
        """Return whether the optimiser may use the gradient.

        Checks only if `on_divergence` is `continue`; otherwise `StepLog.settle` raises an error for such steps.
        """
        if self.config.on_divergence != "continue":
            return True
        if not self.strategy.world.any(not (norm.isfinite() & loss.isfinite())):
            return True
        logger.warning(f"Loss is {float(loss):g}, gradient norm {float(norm):g} at step {step}; skipping the update")
        return False

    def after_validation(self, row: Row) -> None:
        """Check the validation metrics for a collapse, and save the state if it is the best so far.

        Raises:
            DivergedError: the encoder has collapsed.
        """
        try:
            if self.validation is not None and self.validation.items >= divergence.ENOUGH:
                divergence.check_collapse(row, self.state.task.model.dimension)
        except DivergedError as error:
            if self.config.on_divergence != "continue":
                raise
            logger.warning(error.what)
        metric = self.config.checkpoints.best
        value = row[metric] * (-1 if metric in checkpoints.SMALLER_IS_BETTER else 1) if metric else -math.inf
        if value > self.state.best:
            self.state.best = value
            saved = self.state.capture(self.strategy)
            if self.strategy.world.main:
                with self.resumable():
                    checkpoints.save_best(self.folder / CHECKPOINTS, self.state.step, saved)

    def save(self) -> None:
        """Write the metrics, then the checkpoint, so that metrics.parquet always covers the steps of a checkpoint."""
        saved, kept = self.state.capture(self.strategy), self.config.checkpoints
        if self.strategy.world.main:
            with self.resumable():
                self.log.metrics.write()
                checkpoints.save(self.folder / CHECKPOINTS, self.state.step, saved, kept.keep, kept.every)

    def roll_back(self, error: DivergedError) -> None:
        """Return to the last checkpoint with half the learning rate.

        Raises:
            DivergedError: the maximum number of rollbacks is reached, or no checkpoint has finite weights.
        """
        state, world, folder = self.state, self.strategy.world, self.folder / CHECKPOINTS
        names = [name for name, _ in state.task.named_parameters()]
        saved = checkpoints.from_main(world, lambda: checkpoints.load_latest(folder, sound=names))
        if saved is None or state.rollbacks >= divergence.MOST_ROLLBACKS:
            raise error
        scale, rollbacks = state.schedule.scale / 2, state.rollbacks + 1
        state.restore(saved, self.strategy)
        state.schedule.scale, state.rollbacks = scale, rollbacks
        self.log.metrics.forget(state.step)
        state.task.discard_pending()
        self.save()  # so that a run killed after this point resumes with the lower rate
        logger.warning(f"{error.what}; returning to step {state.step} with {scale:g} times the learning rate")

    @contextlib.contextmanager
    def resumable(self) -> Iterator[None]:
        """Add the command that resumes the run to an output error raised in the block."""
        try:
            yield
        except OutputError as error:
            there = checkpoints.found(self.folder / CHECKPOINTS)
            kept = f"the last checkpoint is {there[-1].name}" if there else "there is no checkpoint yet"
            command = f"phylocli train --resume -o {shlex.quote(str(self.folder))}"
            raise OutputError(error.what, error.why, f"fix this, then resume with: {command} ({kept})") from error
