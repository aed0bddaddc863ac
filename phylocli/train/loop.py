"""The training loop, from inputs to a model folder; read it top to bottom.

A run folder holds config.toml (every setting, resolved), metrics.parquet (one row a step), checkpoints/, provenance.json
and, when the run is done, model/. Batches are functions of the seed and the step, so a run that was stopped goes on
exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from phylocli import console, recipes
from phylocli.encoders import choose_device
from phylocli.errors import EXIT_INTERRUPTED, EXIT_OK, BadInputError, PhylocliError, UsageError
from phylocli.formats.provenance import provenance, versions
from phylocli.formats.streams import PathLike, write_text
from phylocli.train import checkpoints
from phylocli.train.data import Corpus, PairBatch, load_corpus, prefetched
from phylocli.train.learner import Learner, choose_precision
from phylocli.train.log import MetricsLog, Reporter
from phylocli.train.measures import validate

CONFIG, METRICS, CHECKPOINTS, PROVENANCE, MODEL = "config.toml", "metrics.parquet", "checkpoints", "provenance.json", "model"

SECONDS_BETWEEN_WRITES = 30.0


class Stopped(PhylocliError):
    """The run was asked to stop, saved a checkpoint and did."""

    def __init__(self, what: str, why: str | None = None, fix: str | None = None, exit_code: int = EXIT_INTERRUPTED) -> None:
        super().__init__(what, why, fix)
        self.exit_code = exit_code


class DivergedError(PhylocliError):
    """The loss or the gradient is no number any more."""


def train_model(
    inputs: list[PathLike],
    output: PathLike,
    *,
    recipe: PathLike = "simclr",
    steps: int | None = None,
    seed: int | None = 0,
    device: str = "auto",
    resume: bool = False,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Train an encoder on homolog pairs.

    Args:
        inputs: family records with trees (pairs are then drawn fresh at every step), or pairs tables. With none, those
            of the run that is resumed, or of the run whose config.toml is the recipe.
        output: the run folder.
        recipe: a recipe's name or the path of a TOML file, such as the config.toml of another run.
        steps: optimiser steps; None takes the recipe's.
        seed: of weights, splits and batches; None takes that of the run whose config.toml is the recipe, else 0. On a
            CPU, same inputs, seed and thread count give the same model.
        device: `auto`, `cpu`, `cuda` or `mps`.
        resume: go on from the last checkpoint of `output`; where there is none, start.
        settings: over the recipe's, by dotted names (`{"critic.temperature": 0.05}`) or nested.

    Returns:
        The model folder, `output/model`.

    Raises:
        UsageError: an unknown recipe, setting or device; a run folder that is not empty; settings that differ on
            resuming.
        BadInputError: inputs that hold no usable family.
        DivergedError: the loss became infinite or not a number.
        Stopped: interrupted; a checkpoint is saved.
    """
    folder = Path(output)
    if resume and not inputs and (folder / CONFIG).is_file():
        recipe, seed = folder / CONFIG, None
    config = _resolve(inputs, recipe, steps, seed, settings or {})
    state = _open_run(folder, config, resume)
    if state is not None and state["step"] >= config["steps"] and (folder / MODEL / "config.json").is_file():
        console.info(f"{folder} has done all its {config['steps']} steps; its model is {folder / MODEL}")
        return folder / MODEL

    target = choose_device(device)
    learner = Learner(config, config["seed"]).to(target)
    corpus = load_corpus(config["inputs"], config, config["seed"], every_view=learner.needs.views == "all")
    learner.precision = choose_precision(config["precision"], target)
    optimiser = _optimiser(learner, config["optimiser"])
    held_out = corpus.validation(config["validation"]["pairs"])
    _say_what_is_trained(learner, corpus, held_out is not None)

    if state is None:
        import tomli_w

        write_text(folder / CONFIG, tomli_w.dumps({**config, "phylocli": versions()["phylocli"]}))
        write_text(
            folder / PROVENANCE, json.dumps(provenance("train", config, config["seed"]), indent=2, default=str) + "\n"
        )
    metrics = MetricsLog(folder / METRICS, upto=state["step"] if state else 0)
    with _own_random_state(config["seed"]), _stop_signals() as stop:
        start = _restore(state, learner, optimiser) if state is not None else 0
        _loop(folder, config, corpus, learner, optimiser, metrics, held_out, start, stop)
    return folder / MODEL


def _loop(
    folder: Path,
    config: dict[str, Any],
    corpus: Corpus,
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    metrics: MetricsLog,
    held_out: PairBatch | None,
    start: int,
    stop: _Stop,
) -> None:
    steps, schedule = config["steps"], config["optimiser"]
    # On a GPU the host only waits for the device when something is written or shown.
    every = 1 if learner.device.type == "cpu" else 10
    pending: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = []
    learner.train()

    def settle() -> None:
        for row, terms in pending:
            row.update({name: float(value) for name, value in terms.items()})
            _check_finite(row, folder)
            metrics.append(row)
        pending.clear()

    with console.progress_task("training", total=steps) as bar:
        report = Reporter(bar, steps, start)
        before = time.monotonic()
        for step, pairs in enumerate(prefetched(corpus, range(start, steps)), start + 1):
            rate = learning_rate(step, steps, schedule)
            for group in optimiser.param_groups:
                group["lr"] = rate
            terms = learner(pairs)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()
            norm = nn.utils.clip_grad_norm_(learner.parameters(), schedule["clip"])
            optimiser.step()
            learner.after_step()

            row: dict[str, Any] = {"step": step, "loss": None, "learning_rate": rate, "gradient_norm": None}
            row.update(pairs=len(pairs), residues=pairs.residues)
            pending.append((row, {**{k: v.detach() for k, v in terms.items()}, "gradient_norm": norm.detach()}))
            last = step == steps
            if step % every == 0 or last or stop.signal is not None:
                settle()
            checked = step % config["validation"]["every"] == 0 or last
            if checked and held_out is not None:
                settle()
                row.update(validate(learner, held_out))
            now = time.monotonic()
            row["seconds"], before = now - before, now
            report.step(row, important=checked or last)
            if stop.signal is not None and not last:
                settle()
                _save(folder, config, step, learner, optimiser, metrics)
                raise stop.as_error(folder, step, steps)
            if step % config["checkpoints"]["every"] == 0 or last:
                settle()
                _save(folder, config, step, learner, optimiser, metrics)
            else:
                metrics.write_if_older(SECONDS_BETWEEN_WRITES)
    # After the last checkpoint: a run that dies in between finds all steps done and writes its model when it is resumed.
    learner.model.save(folder / MODEL, _card(config, corpus, learner, metrics.rows))
    console.info(f"the model is {folder / MODEL} ({learner.model.dimension} features)")


def learning_rate(step: int, steps: int, schedule: dict[str, Any]) -> float:
    """Return the learning rate of a step, the first of which is 1: a linear rise, then half a cosine down to `final`."""
    warmup = max(1, round(schedule["warmup"] * steps))
    if step <= warmup:
        return schedule["learning_rate"] * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    share = schedule["final"] + (1 - schedule["final"]) * (1 + math.cos(math.pi * progress)) / 2
    return schedule["learning_rate"] * share


def _resolve(
    inputs: list[PathLike], recipe: PathLike, steps: int | None, seed: int | None, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the run's configuration: recipe, then settings, every value spelled out."""
    found = recipes.load(recipe)
    config = recipes.merge(found.settings, recipes.nested(settings), "--set")
    if steps is not None:
        config["steps"] = steps
    seed = found.seed if seed is None else seed
    sources = [str(source) for source in inputs] or found.inputs
    if seed < 0:
        raise UsageError(f"the seed is {seed}", fix="give a whole number from 0")
    for name, least in (("steps", 1), ("batch.pairs", 0), ("batch.tokens", 1), ("validation.pairs", 2),
                        ("validation.every", 1), ("checkpoints.every", 1), ("checkpoints.keep", 1)):  # fmt: skip
        value: Any = config
        for key in name.split("."):
            value = value[key]
        if value < least:
            raise UsageError(f"{name} is {value}", fix=f"give {least} or more")
    if not sources:
        raise UsageError("there is nothing to train on", fix="name pairs tables or family records with trees")
    about = {"recipe": found.name, "idea": found.idea, "paper": found.paper}
    return {**about, "inputs": sources, "seed": seed, **config}


def _open_run(folder: Path, config: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return the state to go on from, None for a new run.

    Raises:
        UsageError: the folder is in use and `resume` was not said, or the run there has other settings.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", fix="name a folder for the run with -o")
    if not folder.is_dir() or not any(folder.iterdir()):
        if resume:
            console.info(f"{folder} holds no run yet; starting one")
        return None
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is not empty and holds no run", fix="name an empty or a new folder with -o")
    if not resume:
        raise UsageError(f"{folder} holds a run already", fix="go on with it by --resume, or name another folder with -o")
    import tomllib

    before = tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    before.pop("phylocli", None)
    different = sorted(_differences(before, config))
    if different:
        raise UsageError(
            f"{folder} was started with other settings: {', '.join(different[:6])}",
            fix=f"resume with the settings in {folder / CONFIG}, or name another folder with -o",
        )
    state = checkpoints.load_latest(folder / CHECKPOINTS)
    if state is None:
        console.info(f"{folder} has no checkpoint yet; starting again")
    return state


def _differences(old: dict[str, Any], new: dict[str, Any], at: str = "") -> Iterator[str]:
    for key in {*old, *new}:
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{at}{key}.")
        elif a != b:
            yield f"{at}{key}"


def _optimiser(learner: Learner, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW with decay on matrices only: norms, biases and temperatures have nothing to gain from it."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = learner.device.type == "cuda"
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(settings["beta1"], settings["beta2"]), fused=fused)


def _save(
    folder: Path,
    config: dict[str, Any],
    step: int,
    learner: Learner,
    optimiser: torch.optim.Optimizer,
    metrics: MetricsLog,
) -> None:
    """Write metrics, then the checkpoint: a checkpoint's steps are always in the metrics."""
    metrics.write()
    state = {
        "learner": learner.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "random_cuda": torch.cuda.get_rng_state() if learner.device.type == "cuda" else None,
        "sampler": {"seed": config["seed"], "next_step": step},  # batches are functions of these two
        "schedule": {"steps": config["steps"], **config["optimiser"]},
    }
    checkpoints.save(folder / CHECKPOINTS, step, state, config["checkpoints"]["keep"])


def _restore(state: dict[str, Any], learner: Learner, optimiser: torch.optim.Optimizer) -> int:
    """Put a checkpoint's state back; return the number of steps done."""
    try:
        learner.load_state_dict(state["learner"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and learner.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise BadInputError(
            "the checkpoint does not fit the model",
            why=str(error).split("\n", 1)[0],
            fix="start again with a new run folder",
        ) from error
    console.info(f"going on after step {state['step']}")
    return int(state["step"])


def _check_finite(row: dict[str, Any], folder: Path) -> None:
    for name in ("loss", "gradient_norm"):
        if not math.isfinite(row[name]):
            raise DivergedError(
                f"training diverged: the {name.replace('_', ' ')} of step {row['step']} is {row[name]}",
                why="usually the learning rate is too high or the temperature too low",
                fix="start again with a lower rate, for example --set optimiser.learning_rate=0.0005, and a new -o; "
                f"checkpoints in {folder / CHECKPOINTS} are from before",
            )


def _say_what_is_trained(learner: Learner, corpus: Corpus, validated: bool) -> None:
    families = corpus.families
    sequences = sum(f.size for f in families)
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[learner.precision]
    console.info(
        f"training {learner.model.config['encoder']} ({learner.model.size:,} parameters) on {len(families)} families, "
        f"{sequences:,} sequences, {learner.device.type} in {kind}"
    )
    if not validated:
        console.info("no family is large enough to hold members out; there will be no validation")


class _Stop:
    """What asked the run to stop, if anything did."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:  # asked twice: at once
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)

    def as_error(self, folder: Path, step: int, steps: int) -> Stopped:
        # A batch system that ends a job by SIGTERM should find that all is well.
        code = EXIT_OK if self.signal is signal.SIGTERM else EXIT_INTERRUPTED
        return Stopped(
            f"stopped after step {step} of {steps}; a checkpoint is saved",
            fix=f"go on with: phylocli train --resume -o {shlex.quote(str(folder))}",
            exit_code=code,
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Let SIGINT and SIGTERM end the run after the step that is being done."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    """Seed torch (dropout) for the block, and put the caller's random state back after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _card(config: dict[str, Any], corpus: Corpus, learner: Learner, rows: list[dict[str, Any]]) -> str:
    checked = [row for row in rows if row.get("val_bound") is not None]
    model, run = learner.model, config["recipe"]
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
