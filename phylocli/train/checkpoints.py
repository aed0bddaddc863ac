"""Checkpoints: the complete state for resuming a run exactly, written atomically."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, cast

import torch

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import atomic_path
from phylocli.train.parallel.world import World
from phylocli.train.saved import Saved, Weights

logger = logging.getLogger(__name__)

BEST = "best.pt"
SMALLER_IS_BETTER = ("val_loss",)
BOUNDS = {"val_accuracy": (0.0, 1.0), "val_retrieval": (0.0, 1.0)}
"""Ranges of the bounded metrics."""

_NAME = re.compile(r"^step-(\d{8})\.pt$")


def from_main(world: World, load: Callable[[], Saved | None]) -> Saved | None:
    """Load a checkpoint on rank 0 and send it, without the weights, to the other processes.

    Args:
        world: the processes of the run.
        load: returns the checkpoint, or None if there is none.

    Raises:
        ElsewhereError: rank 0 failed (raised in the other processes).
    """
    whole: Saved | None = None

    def rest() -> Saved | None:
        nonlocal whole
        whole = load()
        return whole and cast(Saved, {name: value for name, value in whole.items() if name not in Weights.__annotations__})

    others = world.on_main(rest)
    return whole if world.main else others


def save(folder: Path, step: int, state: Saved, keep: int, every: int) -> Path:
    """Write the state after `step` steps, and remove all except the last `keep` checkpoints.

    Older checkpoints at steps that are not multiples of `every`, which interruptions leave, are removed as well: an
    interrupted and resumed run ends with the same checkpoints as an uninterrupted one.

    Args:
        folder: the run's `checkpoints/`.
        step: number of completed steps.
        state: tensors, numbers, text, and lists and dicts of these; other types cannot be loaded.
        keep: number of checkpoints to keep, at least 1.
        every: steps between two scheduled checkpoints.
    """
    target = folder / f"step-{step:08d}.pt"
    _write({**state, "step": step}, target)
    unscheduled = [path for path in found(folder) if path != target and _step(path) % every]
    scheduled = [path for path in found(folder) if path not in unscheduled]
    for old in unscheduled + scheduled[: -max(1, keep)]:
        old.unlink(missing_ok=True)
    return target


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def save_best(folder: Path, step: int, state: Saved) -> Path:
    """Write the state with the best validation metric so far, replacing the previous one."""
    return _write({**state, "step": step}, folder / BEST)


class _File:
    """A file that keeps the disk error, because `torch.save` converts it into a RuntimeError without details."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _write(state: Saved, target: Path) -> Path:
    with atomic_path(target) as part, part.open("wb", buffering=0) as raw:
        file = _File(raw)
        try:
            torch.save(state, cast(IO[bytes], file))
        except Exception:
            if file.error is not None:
                raise file.error from None
            raise
    return target


def load_best(folder: Path) -> Saved:
    """Return the state with the best validation metric.

    Raises:
        BadInputError: the file is missing or cannot be read.
    """
    state = _read(folder / BEST)
    if state is None:
        raise BadInputError(f"{folder / BEST} cannot be read", fix="use the last model: --set checkpoints.model=last")
    return state


def found(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints in a folder, the newest last."""
    return sorted(path for path in folder.glob("step-*.pt") if _NAME.match(path.name))


def load_latest(folder: Path, sound: Iterable[str] = ()) -> Saved | None:
    """Return the state of the newest readable checkpoint, or None if the folder contains no checkpoint.

    Only plain data are read (`weights_only`), so a checkpoint cannot run code.

    Args:
        folder: the run's `checkpoints/`.
        sound: names of weights that must be finite; checkpoints with NaN or infinite values in them are skipped.

    Raises:
        BadInputError: the folder contains checkpoints, but none can be read.
    """
    paths = found(folder)
    names = list(sound)
    for path in reversed(paths):
        state = _read(path)
        if state is not None and all(state["task"][name].isfinite().all() for name in names):
            return state
    if paths:
        raise BadInputError(
            f"no checkpoint in {folder} can be read",
            why="all of them are damaged",
            fix="copy them again from a backup, or remove the run folder and start again",
        )
    return None


def _read(path: Path) -> Saved | None:
    """Return the state in a file, or None with a warning if the file is damaged."""
    try:
        # torch.load does not check the checksums in the file.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} does not match")
        state: Saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  zipfile, pickle and torch raise many types of errors for damaged files
        lines = str(error).strip().splitlines()
        logger.warning(f"{path} is damaged and is skipped ({lines[0] if lines else type(error).__name__})")
        return None
    return _upgraded(state)


def _upgraded(state: Saved) -> Saved:
    """Convert the keys of a checkpoint written by an earlier version to the current ones."""
    old = cast(dict[str, Any], state)
    if "learner" in old:
        weights = old.pop("learner")
        state["task"] = {re.sub(r"^slow\.", "momentum_encoder.", name): value for name, value in weights.items()}
    if "memory" in old:
        memory = old.pop("memory")
        state["execution"] = {"max_tokens": memory["tokens"], "grad_cache": memory["cache"]}
    return state
