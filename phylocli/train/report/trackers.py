"""Experiment trackers: TensorBoard and Weights & Biases, in addition to metrics.parquet."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from phylocli.config.train import LogConfig, TrainConfig
from phylocli.core.errors import MissingDependencyError, ServiceError
from phylocli.train.report.row import Row

Track = Callable[[Row], None]
"""A function that receives the complete row of each step."""

TENSORBOARD, WANDB = "tensorboard", "wandb"


def check(config: LogConfig) -> None:
    """Check that the trackers selected in the table `log` of a run's configuration are installed.

    Raises:
        MissingDependencyError: a selected tracker is not installed.
    """
    for name, wanted in ((TENSORBOARD, config.tensorboard), (WANDB, config.wandb)):
        spec = importlib.util.find_spec(name) if wanted else None
        if wanted and (spec is None or spec.origin is None):  # a folder of that name is not a package
            raise MissingDependencyError(f"log.{name} is set, but {name} is not installed", fix=f"pip install '.[{name}]'")


@contextlib.contextmanager
def tracking(folder: Path, config: TrainConfig, start: int = 0, *, main: bool = True) -> Iterator[list[Track]]:
    """Open the trackers configured for a run, and close them at the end of the block.

    Args:
        folder: the run folder.
        config: the configuration of the run; its table `log` selects the trackers.
        start: number of steps completed before a resume; later steps already tracked are discarded.
        main: whether this is rank 0; other processes open no trackers.

    Raises:
        ServiceError: Weights & Biases cannot be reached, or rejects the login.
    """
    with contextlib.ExitStack() as stack:
        found: list[Track] = []
        if main and config.log.tensorboard:
            found.append(stack.enter_context(_tensorboard(folder / TENSORBOARD, start)))
        if main and config.log.wandb:
            found.append(stack.enter_context(_wandb(folder, config)))
        yield found


def named(row: Row) -> dict[str, float]:
    """Return the values of a row under their names in the trackers, such as `train/loss` and `validation/bound`."""
    return {
        f"validation/{name[4:]}" if name.startswith("val_") else f"train/{name}": float(value)
        for name, value in row.items()
        if name != "step" and value is not None and not math.isnan(value)
    }


@contextlib.contextmanager
def _tensorboard(folder: Path, start: int) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    def track(row: Row) -> None:
        for name, value in named(row).items():
            writer.add_scalar(name, value, row["step"])

    with SummaryWriter(str(folder), purge_step=start + 1 if start else None) as writer:
        yield track


@contextlib.contextmanager
def _wandb(folder: Path, config: TrainConfig) -> Iterator[Track]:
    import wandb

    note = folder / "wandb-run"  # the run's id, so that a resumed run continues the same W&B run
    if not note.is_file():
        note.write_text(secrets.token_hex(8) + "\n", encoding="utf-8")
    try:
        run = wandb.init(
            project=config.log.wandb,
            name=folder.resolve().name,
            id=note.read_text(encoding="utf-8").strip(),
            resume="allow",
            dir=str(folder),
            config=config.to_toml(),
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.Error as error:
        raise ServiceError(
            "Weights & Biases rejected the run",
            why=str(error).strip().split("\n", 1)[0],
            fix="run 'wandb login', or set WANDB_MODE=offline and 'wandb sync' later",
        ) from error
    run.define_metric("*", step_metric="step")  # steps may repeat after a rollback

    def track(row: Row) -> None:
        run.log({"step": row["step"], **named(row)})

    try:
        yield track
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()
