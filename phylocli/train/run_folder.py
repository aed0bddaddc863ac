"""The run folder: opening it, comparing its settings, the split, and the model card."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from phylocli.config.assignments import flat
from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.provenance import versions
from phylocli.formats.streams import PathLike, locks, write_text
from phylocli.models.model import Model
from phylocli.pairs import Split
from phylocli.train import checkpoints
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.optimiser import Schedule
from phylocli.train.report.row import Row
from phylocli.train.saved import Saved
from phylocli.train.task import ContrastiveTask

logger = logging.getLogger(__name__)

CONFIG, METRICS, CHECKPOINTS, PROVENANCE, MODEL = "config.toml", "metrics.parquet", "checkpoints", "provenance.json", "model"
SPLIT = "split.parquet"
"""The split into training and held-out members; see `phylocli.pairs.Split`."""

_NOT_DECISIVE = {"batch.workers", "batch.shard"}
"""Settings that do not affect the result: a run may be resumed with different values."""
_OF_SCHEDULE = {"steps", "optimiser.warmup", "optimiser.final", "optimiser.decay"}
"""Settings that affect the learning rate only: a run may be resumed with values that agree on the steps taken."""


def open_run(folder: Path, config: TrainConfig, resume: bool) -> Saved | None:
    """Return the checkpoint to resume from, or None for a new run.

    Raises:
        UsageError: the folder is not empty and `resume` is False, or its run has different settings.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", fix="name a folder for the run with -o")
    if not folder.is_dir() or locks.is_empty(folder):
        if resume:
            logger.info(f"{folder} contains no run yet; starting one")
        return None
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is not empty and contains no run", fix="name an empty or a new folder with -o")
    if not resume:
        raise UsageError(f"{folder} already contains a run", fix="resume it with --resume, or name another folder with -o")
    different = changed(folder, config)
    state = checkpoints.load_latest(folder / CHECKPOINTS)
    if different and not (state is not None and _continues(folder, config, state["step"])):
        raise UsageError(
            f"{folder} was started with different settings: {', '.join(different[:6])}",
            fix=f"resume with the settings in {folder / CONFIG}, or name another folder with -o",
        )
    if different:
        write_config(folder, config)
        logger.info(f"the run now has {config.steps} steps; the learning rate was the same until now")
    if state is None:
        logger.info(f"{folder} has no checkpoint yet; starting again")
    return state


def write_config(folder: Path, config: TrainConfig) -> None:
    """Write the configuration of a run."""
    import tomli_w

    write_text(folder / CONFIG, tomli_w.dumps({**config.to_toml(), "phylocli": versions()["phylocli"]}))


def _continues(folder: Path, config: TrainConfig, step: int) -> bool:
    """Return whether a run differs from `config` in the learning rate of future steps only, after this step."""
    old = TrainConfig.read(folder / CONFIG)
    names = {text.partition(" = ")[0] for text in changed(folder, config)}
    if not names <= _OF_SCHEDULE or config.steps < step:
        return False
    one, two = (Schedule.of(c) for c in (old, config))
    return all(math.isclose(one.rate(k), two.rate(k), rel_tol=1e-9) for k in range(1, step + 1))


def changed(folder: Path, config: TrainConfig) -> list[str]:
    """Return the settings that affect the result and differ from those of the run in a folder.

    Each is given as `name = value in the run`, sorted by name.

    Raises:
        BadInputError, UsageError: the run's config.toml is damaged.
    """
    old, new = (flat(c.to_toml()) for c in (TrainConfig.read(folder / CONFIG), config))
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    decisive = sorted(name for name in names - _NOT_DECISIVE if not name.startswith("log."))
    return [f"{name} = {old.get(name, 'its default')}" for name in decisive]


def model_card(config: TrainConfig, corpus: Corpus, model: Model, rows: list[Row]) -> str:
    """Return the model card in Markdown: encoder, recipe, training data, and metrics on held-out members."""
    checked = [row for row in rows if row.get("val_bound") is not None]
    run = config.recipe
    encoder, pooling = model.config.encoder, model.config.pooling
    figures = "No members were held out."
    if checked:
        row = checked[-1]
        figures = (
            f"On held-out members after step {row['step']}: InfoNCE {row['val_bound']:.2f} nats of at most "
            f"{row['val_ceiling']:.2f}, partner found among its negatives {row['val_accuracy']:.3f}, nearest neighbour of "
            f"the same family {row['val_retrieval']:.3f}, effective rank {row['val_rank']:.1f} of {model.dimension}."
        )
    heads = ""
    if model.heads:
        last = next((row for row in reversed(checked) if any(f"val_{head}_loss" in row for head in model.heads)), {})
        parts = [
            f"{head} ({last[f'val_{head}_loss']:.3f} nats, accuracy {last[f'val_{head}_accuracy']:.3f})"
            if f"val_{head}_loss" in last
            else head
            for head in model.heads
        ]
        labels = Path(config.residues.labels).name
        heads = f"- Heads on residues, trained on `{labels}` (figures of held-out sequences): {', '.join(parts)}.\n"
    decoder = ""
    if model.config.decoder is not None:
        shown = [row for row in checked if "val_decoded" in row][-1:]
        gain = "".join(f"; held-out views: {x['val_decoded']:.0f} of {x['val_decoded_ceiling']:.0f} nats" for x in shown)
        decoder = f"- Decoder: {model.config.decoder.name}, of {model.blocks[0]} latent features{gain}.\n"
    teachers = ""
    if config.teachers:
        learned = [*config.distillation.losses, *(["residues"] if config.distillation.residues else [])]
        learned += config.distillation.head_weights
        names = ", ".join(f"`{Path(teacher).name}`" for teacher in config.teachers)
        teachers = f"- Distilled from {names} ({', '.join(learned)}).\n"
    sizes = np.array([f.size for f in corpus.families])
    inputs = ", ".join(f"`{Path(source).name}`" for source in config.inputs)
    return f"""# A phylocli model

- Encoder: {encoder}, {model.size:,} parameters, {model.dimension} features, {pooling} pooling.
- Recipe: `{run}` ({config.idea or "own"}), {config.steps} steps of {corpus.pairs} pairs, seed {config.seed}.
- Data: {len(sizes)} families, {int(sizes.sum()):,} sequences ({int(sizes.min())} to {int(sizes.max())} each), from
{inputs}.
- {figures}
{heads}{decoder}{teachers}- Made by phylocli {versions()["phylocli"]}. Fingerprint: `{model.fingerprint}`

Every setting is in config.toml of the run, the checksums of the inputs are in its provenance.json. The model was trained on
these families only; its accuracy on other proteins is untested.
"""


def save_split(path: Path, split: Split, *, resumed: bool) -> None:
    """Save the split into training and held-out members.

    Raises:
        UsageError: a resumed run was started with a different split.
    """
    if resumed and path.is_file() and Split.read(path).digest() != split.digest():
        raise UsageError(
            f"the run was started with a different split, {path}",
            why="members cannot move between training and validation during a run",
            fix="start a new run",
        )
    split.write(path)


def load_task(folder: PathLike, *, trained: bool = True) -> ContrastiveTask:
    """Return the task of a run: model, head, critic and objective.

    Args:
        folder: the run folder.
        trained: whether to load the weights of the last checkpoint; False returns the initial weights.

    Raises:
        BadInputError: the folder contains no run, or no readable checkpoint.
    """
    path = Path(folder)
    if not (path / CONFIG).is_file():
        raise BadInputError(f"{path} is not a run folder", fix="name the folder that was given to 'phylocli train -o'")
    task = ContrastiveTask(TrainConfig.read(path / CONFIG))
    if trained:
        state = checkpoints.load_latest(path / CHECKPOINTS)
        if state is None:
            raise BadInputError(f"{path} has no checkpoint yet", fix="train for some steps first")
        task.load_state_dict(state["task"])
    return task
