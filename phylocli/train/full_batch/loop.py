"""Training loop of tasks whose data fit into memory: forward, backward, step, log, checkpoint; by one process.

Every step is a function of the seed and its number, so a stopped run resumes exactly.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from phylocli.config.train import TrainConfig
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.formats.provenance import provenance
from phylocli.formats.streams import write_text
from phylocli.train import checkpoints, divergence
from phylocli.train.optimiser import Schedule, make_optimiser
from phylocli.train.parallel.world import World
from phylocli.train.report.metrics import MetricsLog
from phylocli.train.report.row import Row
from phylocli.train.run_folder import CHECKPOINTS, METRICS, MODEL, PROVENANCE, write_config
from phylocli.train.saved import Optimiser, Saved
from phylocli.train.signals import stop_signals

logger = logging.getLogger(__name__)


def finished(folder: Path, config: TrainConfig, saved: Saved | None, file: str, world: World) -> bool:
    """Return whether a run has all of its steps and its model, which contains this file.

    Raises:
        UsageError: there are several processes.
    """
    if world.size > 1:
        raise UsageError(f"{config.task!r} is trained by one process", fix="start it without torchrun")
    if saved is None or saved["step"] < config.steps or not (folder / MODEL / file).is_file():
        return False
    logger.info(f"{folder} is complete ({config.steps} steps); the model is in {folder / MODEL}")
    return True


def optimise(
    folder: Path,
    config: TrainConfig,
    task: nn.Module,
    saved: Saved | None,
    world: World,
    terms: Callable[[int], dict[str, Tensor]],
    after: Callable[[int, Row], None] | None = None,
) -> list[Row]:
    """Train a task in a run folder, from the start or a checkpoint, and return the rows of metrics.

    Args:
        folder, config, world: of the run.
        task: what is trained, with all of its state.
        saved: the checkpoint to resume from.
        terms: returns `loss` and other metrics of a step, counted from 1.
        after: called after each step with its row of metrics, which it may extend.

    Raises:
        DivergedError: the loss is not finite.
        Stopped: interrupted; a checkpoint is saved.
    """
    optimiser, schedule = make_optimiser(task, config.optimiser), Schedule.of(config)
    step = 0
    if saved is not None:
        task.load_state_dict(saved["task"])
        optimiser.load_state_dict(cast(dict[str, object], saved["optimiser"]))
        step = saved["step"]
        logger.info(f"resuming after step {step}")
    else:
        write_config(folder, config)
        record = provenance("train", config.to_toml(), config.seed)
        write_text(folder / PROVENANCE, json.dumps(record, indent=2, default=str) + "\n")
    metrics = MetricsLog(folder / METRICS, upto=step)
    with stop_signals() as stop, console.progress_task("training", total=config.steps) as bar:
        bar.advance(step)
        while step < config.steps:
            step += 1

            # Forward and backward.
            found = terms(step)
            optimiser.zero_grad(set_to_none=True)
            found["loss"].backward()
            norm = nn.utils.clip_grad_norm_(task.parameters(), config.optimiser.clip)

            # Step.
            rate = schedule.rate(step)
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.step()

            # Log and validate.
            row: Row = {"step": step, **{name: float(value.detach()) for name, value in found.items()}}
            row |= {"learning_rate": rate, "gradient_norm": float(norm)}
            divergence.check_finite(row)
            if after is not None:
                after(step, row)
            metrics.append(row)
            bar.advance()

            # Checkpoint.
            stopping = stop.agreed(world) and step < config.steps
            if stopping or step % config.checkpoints.every == 0 or step == config.steps:
                metrics.write()
                state = Saved(task=task.state_dict(), optimiser=cast(Optimiser, optimiser.state_dict()))
                checkpoints.save(folder / CHECKPOINTS, step, state, config.checkpoints.keep, config.checkpoints.every)
            if stopping:
                raise stop.as_error(folder, step, config.steps)
    return metrics.rows
