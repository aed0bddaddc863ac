"""The run folder: what its configuration is, whether it is free, and the card of the model that it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phylocli import recipes
from phylocli.config.assignments import nested
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.formats.provenance import versions
from phylocli.formats.streams import PathLike, locks
from phylocli.models.model import Model
from phylocli.recipes.layers import Layer, option
from phylocli.train import checkpoints
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.settings import check

CONFIG, METRICS, CHECKPOINTS, PROVENANCE, MODEL = "config.toml", "metrics.parquet", "checkpoints", "provenance.json", "model"
SPLIT = "split.parquet"
"""Which members are trained on and which are held out; see `phylocli.pairs.Split`."""

# They change nothing of what comes out: a run may go on with others.
_NO_MATTER = {"batch.workers", "batch.shard"}


def resolve(
    inputs: list[PathLike],
    recipe: PathLike | None,
    steps: int | None,
    seed: int | None,
    settings: dict[str, Any],
    layers: Sequence[Layer] = (),
) -> dict[str, Any]:
    """Return the run's configuration: recipe, then the layers, then settings, every value spelled out.

    The config.toml of a run is complete: no layer changes what it says.
    """
    found = recipes.load(recipe or option(layers, "recipe") or "simclr")
    if found.inputs:
        if layers:
            console.info(f"{recipe} states every setting; {', '.join(layer.where for layer in layers)} are not looked at")
        layers = ()
    config = found.settings
    for layer in layers:
        config = recipes.merge(config, layer.settings, layer.where)
        console.detail(f"{layer.count} settings from {layer.where}")
    config = recipes.merge(config, nested(settings), "--set")
    if steps is not None:
        config["steps"] = steps
    if seed is None:
        seed = option(layers, "seed")
    seed = found.seed if seed is None else seed
    sources = [str(source) for source in inputs] or found.inputs
    if not sources:
        raise UsageError("there is nothing to train on", fix="name pairs tables or family records with trees")
    about = {"recipe": found.name, "idea": found.idea, "paper": found.paper}
    whole = {**about, "inputs": sources, "seed": seed, **config}
    check(whole)
    return whole


def open_run(folder: Path, config: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return the state to go on from, None for a new run.

    Raises:
        UsageError: the folder is in use and `resume` was not said, or the run there has other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", fix="name a folder for the run with -o")
    if not folder.is_dir() or locks.is_empty(folder):
        if resume:
            console.info(f"{folder} holds no run yet; starting one")
        return None
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is not empty and holds no run", fix="name an empty or a new folder with -o")
    if not resume:
        raise UsageError(f"{folder} holds a run already", fix="go on with it by --resume, or name another folder with -o")
    different = changed(folder, config)
    if different:
        raise UsageError(
            f"{folder} was started with other settings: {', '.join(different[:6])}",
            fix=f"resume with the settings in {folder / CONFIG}, or name another folder with -o",
        )
    state = checkpoints.load_latest(folder / CHECKPOINTS)
    if state is None:
        console.info(f"{folder} has no checkpoint yet; starting again")
    return state


def changed(folder: Path, config: dict[str, Any]) -> list[str]:
    """Return which settings that matter differ from those of the run in a folder, as `name = value in the run`, sorted.

    Args:
        folder: of a run.
        config: every setting, resolved.

    Raises:
        BadInputError, UsageError: the run's config.toml is damaged.
    """
    before = recipes.load(folder / CONFIG)  # settings that are newer than the run have their defaults there
    about = {"recipe": before.name, "idea": before.idea, "paper": before.paper, "inputs": before.inputs, "seed": before.seed}
    old = {**about, **before.settings}
    names = [name for name in _differences(old, config) if name not in _NO_MATTER and not name.startswith("log.")]
    return [f"{name} = {_shown(old, name)}" for name in sorted(names)]


def _shown(config: dict[str, Any], name: str) -> str:
    value: Any = config
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return "its default" if value is None else str(value)


def _differences(old: dict[str, Any], new: dict[str, Any], at: str = "") -> Iterator[str]:
    for key in {*old, *new}:
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{at}{key}.")
        elif a != b:
            yield f"{at}{key}"


def model_card(config: dict[str, Any], corpus: Corpus, model: Model, rows: list[dict[str, Any]]) -> str:
    """Return the model card: what the model is, what it was trained on, what it reached on held-out members."""
    checked = [row for row in rows if row.get("val_bound") is not None]
    run = config["recipe"]
    encoder, pooling = model.config["encoder"], model.config["pooling"]
    figures = "No members were held out."
    if checked:
        row = checked[-1]
        figures = (
            f"On held-out members after step {row['step']}: InfoNCE {row['val_bound']:.2f} nats of at most "
            f"{row['val_ceiling']:.2f}, partner found among its negatives {row['val_accuracy']:.3f}, nearest neighbour of "
            f"the same family {row['val_retrieval']:.3f}, effective rank {row['val_rank']:.1f} of {model.dimension}."
        )
    sizes = np.array([f.size for f in corpus.families])
    inputs = ", ".join(f"`{Path(source).name}`" for source in config["inputs"])
    return f"""# A phylocli model

- Encoder: {encoder}, {model.size:,} parameters, {model.dimension} features, {pooling} pooling.
- Recipe: `{run}` ({config["idea"] or "own"}), {config["steps"]} steps of {corpus.pairs} pairs, seed {config["seed"]}.
- Data: {len(sizes)} families, {int(sizes.sum()):,} sequences ({int(sizes.min())} to {int(sizes.max())} each), from
{inputs}.
- {figures}
- Made by phylocli {versions()["phylocli"]}. Fingerprint: `{model.fingerprint}`

Every setting is in config.toml of the run, the checksums of the inputs are in its provenance.json. The model knows what
lies in these families; what it says of proteins unlike them is untested.
"""
