"""The training loop, from inputs to a model folder; read it top to bottom.

A run folder holds config.toml (every setting, resolved), metrics.parquet (one row a step), checkpoints/, provenance.json
and, when the run is done, model/. Batches are functions of the seed and the step, so a run that was stopped goes on
exactly as if it had not been.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phylocli import console
from phylocli.encoders import choose_device
from phylocli.errors import BadInputError
from phylocli.formats.provenance import provenance, versions
from phylocli.formats.streams import PathLike, write_text
from phylocli.recipes.layers import Layer, option
from phylocli.train import checkpoints, divergence
from phylocli.train.compiled import Cache
from phylocli.train.data import Corpus, PairBatch, load_corpus
from phylocli.train.divergence import DivergedError
from phylocli.train.folder import CHECKPOINTS, CONFIG, METRICS, MODEL, PROVENANCE, model_card, open_run, resolve
from phylocli.train.learner import Learner, choose_precision
from phylocli.train.log import MetricsLog, Reporter
from phylocli.train.measures import validate
from phylocli.train.prefetch import choose_workers, made_ahead
from phylocli.train.signals import Stop, Stopped, stop_signals
from phylocli.train.throughput import Meter
from phylocli.train.trackers import tracking
from phylocli.train.whitening import whiten

__all__ = ["DivergedError", "Stopped", "learning_rate", "train_model"]

SECONDS_BETWEEN_WRITES = 30.0


def train_model(
    inputs: list[PathLike],
    output: PathLike,
    *,
    recipe: PathLike | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    layers: Sequence[Layer] = (),
    cache: Cache = True,
) -> Path:
    """Train an encoder on homolog pairs.

    Args:
        inputs: family records with trees (pairs are then drawn fresh at every step), or pairs tables. With none, those
            of the run that is resumed, or of the run whose config.toml is the recipe.
        output: the run folder.
        recipe: a recipe's name or the path of a TOML file, such as the config.toml of another run; None takes that of the
            layers, else `simclr`.
        steps: optimiser steps; None takes the recipe's.
        seed: of weights, splits and batches; None takes that of the run whose config.toml is the recipe, or of the layers,
            else 0. On a CPU, same inputs, seed and thread count give the same model.
        device: `auto`, `cpu`, `cuda` or `mps`; None takes that of the layers, else `auto`.
        resume: go on from the last checkpoint of `output`; where there is none, start.
        settings: over the recipe's, by dotted names (`{"critic.temperature": 0.05}`) or nested.
        layers: settings between the recipe's and these, as `phylocli.recipes.layers.collect` finds them in the user's and
            the project's files and in the environment. Without any, none of these is looked at.
        cache: the folder where compiled families are kept, for later runs; True takes the user's (`$PHYLOCLI_CACHE`), False
            compiles them for this run only.

    Returns:
        The model folder, `output/model`.

    Raises:
        UsageError: an unknown recipe, setting or device; a run folder that is not empty; settings that differ on
            resuming.
        BadInputError: inputs that hold no usable family.
        DivergedError: the loss became infinite or not a number, or all embeddings alike (unless `on_divergence` says
            otherwise).
        Stopped: interrupted; a checkpoint is saved.
    """
    folder = Path(output)
    if resume and not inputs and (folder / CONFIG).is_file():
        recipe, seed = folder / CONFIG, None
    config = resolve(inputs, recipe, steps, seed, settings or {}, layers)
    state = open_run(folder, config, resume)
    if state is not None and state["step"] >= config["steps"] and (folder / MODEL / "config.json").is_file():
        console.info(f"{folder} has done all its {config['steps']} steps; its model is {folder / MODEL}")
        return folder / MODEL

    target = choose_device(device or option(layers, "device") or "auto")
    learner = Learner(config, config["seed"]).to(target)
    corpus = load_corpus(config["inputs"], config, config["seed"], every_view=learner.needs.views == "all", cache=cache)
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
    with _own_random_state(config["seed"]), stop_signals() as stop:
        run = _Run(folder, config, corpus, learner, optimiser, metrics, held_out, stop)
        start = 0
        if state is not None:
            start = run.restore(state)
            console.info(f"going on after step {start}")
        elif config["on_divergence"] == "rollback":
            run.save(0)  # something to go back to
        while True:
            try:
                run.steps(start)
                break
            except DivergedError as error:
                if config["on_divergence"] != "rollback":
                    raise
                start = run.roll_back(error)
    return run.finish()


@dataclass
class _Run:
    """A run and all that it changes.

    Attributes:
        scale: of the learning rate; halved at each rollback.
        rollbacks: how many there were.
        best: the best validation figure so far, larger is better.
    """

    folder: Path
    config: dict[str, Any]
    corpus: Corpus
    learner: Learner
    optimiser: torch.optim.Optimizer
    metrics: MetricsLog
    held_out: PairBatch | None
    stop: Stop
    scale: float = 1.0
    rollbacks: int = 0
    best: float = -math.inf

    @functools.cached_property
    def meter(self) -> Meter:
        """Measures how fast steps are."""
        return Meter(self.learner, mfu=self.config["log"]["mfu"])

    @functools.cached_property
    def workers(self) -> int:
        """Processes that make batches; 0: a thread."""
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: the run's processes on this machine
        return choose_workers(self.config["batch"]["workers"], self.learner.device.type, beside)

    @functools.cached_property
    def judged(self) -> bool:
        """Whether enough sequences are held out to tell a collapse."""
        held_out = self.held_out
        return held_out is not None and len({t.tobytes() for t in held_out.a + held_out.b}) >= divergence.ENOUGH

    def steps(self, start: int) -> None:
        """Do all steps after `start`.

        Raises:
            DivergedError: the loss is no number, or the embeddings are all alike.
            Stopped: a signal asked for it; a checkpoint is saved.
        """
        config, learner, stop, steps = self.config, self.learner, self.stop, self.config["steps"]
        parts = config["batch"]["accumulate"]
        going_on = config["on_divergence"] == "continue"
        # On a GPU the host only waits for the device when something is written or shown.
        every = 1 if learner.device.type == "cpu" else 10
        pending: list[tuple[dict[str, Any], dict[str, Tensor]]] = []
        learner.train()

        def settle() -> None:
            for row, terms in pending:
                row.update({name: float(value) for name, value in terms.items()})
            self.meter.settle([row for row, _ in pending])
            for row, _ in pending:
                if not going_on:
                    divergence.check_finite(row)
                self.metrics.append(row)
            pending.clear()

        ahead = made_ahead(self.corpus, range(start * parts, steps * parts), self.workers)
        with (
            ahead as batches,
            Reporter(steps, start) as report,
            tracking(self.folder, config, start) as self.metrics.trackers,
        ):
            spent = waited = 0.0
            before = time.monotonic()
            self.meter.start()
            for step in range(start + 1, steps + 1):
                row, terms = self._step(step, list(itertools.islice(batches, parts)))
                pending.append((row, terms))
                last = step == steps
                if step % every == 0 or last or stop.signal is not None:
                    settle()
                checked = step % config["validation"]["every"] == 0 or last
                if checked and self.held_out is not None:
                    settle()
                    row.update(validate(learner, self.held_out))
                    self._judge(row)
                now = time.monotonic()
                row["seconds"], row["waited"], before = now - before, batches.take_waited(), now
                spent, waited = spent + row["seconds"], waited + row["waited"]
                report.step(row, important=checked or last)
                if not pending:
                    self.metrics.publish()
                if stop.signal is not None and not last:
                    settle()
                    self.save(step)
                    raise stop.as_error(self.folder, step, steps)
                if step % config["checkpoints"]["every"] == 0 or last:
                    settle()
                    self.save(step)
                else:
                    self.metrics.write_if_older(SECONDS_BETWEEN_WRITES)
                if not pending:
                    self.meter.start()
            console.info(f"steps waited for data {waited / max(spent, 1e-9):.1%} of the time")

    def _step(self, step: int, batches: list[PairBatch]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Do one step of the optimiser on the average gradient of some batches; return its row and what is still to come."""
        learner, optimiser, schedule = self.learner, self.optimiser, self.config["optimiser"]
        rate = learning_rate(step, self.config["steps"], schedule) * self.scale
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for pairs in batches:
            found = learner(pairs)
            (found["loss"] / len(batches)).backward()
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        norm = nn.utils.clip_grad_norm_(learner.parameters(), schedule["clip"])
        if self.config["on_divergence"] == "continue" and not (norm.isfinite() & terms["loss"].isfinite()):
            console.warning(
                f"step {step} is passed over: its loss is {float(terms['loss']):g}, its gradient {float(norm):g}"
            )
            learner.pass_over()
        else:
            optimiser.step()
            learner.after_step()
        row: dict[str, Any] = {"step": step, "loss": None, "learning_rate": rate, "gradient_norm": None}
        row.update(pairs=sum(map(len, batches)), residues=sum(pairs.residues for pairs in batches))
        self.meter.note(row, batches)
        return row, {**terms, "gradient_norm": norm.detach()}

    def _judge(self, row: dict[str, Any]) -> None:
        """Look at the validation figures: is this a collapse, is it the best so far?"""
        try:
            if self.judged:
                divergence.check_collapse(row, self.learner.model.dimension)
        except DivergedError as error:
            if self.config["on_divergence"] != "continue":
                raise
            console.warning(error.what)
        figure = self.config["checkpoints"]["best"]
        value = row[figure] * (-1 if figure in checkpoints.SMALLER_IS_BETTER else 1) if figure else -math.inf
        if value > self.best:
            self.best = value
            checkpoints.save_best(self.folder / CHECKPOINTS, row["step"], self.state(row["step"]))

    def state(self, step: int) -> dict[str, Any]:
        """Return everything that a run needs to go on after a step."""
        return {
            "learner": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.learner.device.type == "cuda" else None,
            "sampler": {"seed": self.config["seed"], "next_step": step},  # batches are functions of these two
            "schedule": {"steps": self.config["steps"], **self.config["optimiser"]},
            "progress": {"scale": self.scale, "rollbacks": self.rollbacks, "best": self.best},
        }

    def save(self, step: int) -> None:
        """Write metrics, then the checkpoint: a checkpoint's steps are always in the metrics."""
        self.metrics.write()
        checkpoints.save(self.folder / CHECKPOINTS, step, self.state(step), self.config["checkpoints"]["keep"])

    def restore(self, state: dict[str, Any]) -> int:
        """Put a checkpoint's state back; return the number of steps done.

        Raises:
            BadInputError: it is that of another model.
        """
        try:
            self.learner.load_state_dict(state["learner"])
            self.optimiser.load_state_dict(state["optimiser"])
            torch.set_rng_state(state["random"])
            if state["random_cuda"] is not None and self.learner.device.type == "cuda":
                torch.cuda.set_rng_state(state["random_cuda"])
            for name, value in state.get("progress", {}).items():
                setattr(self, name, value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadInputError(
                "the checkpoint does not fit the model",
                why=str(error).split("\n", 1)[0],
                fix="start again with a new run folder",
            ) from error
        return int(state["step"])

    def roll_back(self, error: DivergedError) -> int:
        """Go back to the last checkpoint with half the learning rate; return the number of steps done there.

        Raises:
            DivergedError: that was done too often, or no checkpoint is sound.
        """
        names = [name for name, _ in self.learner.named_parameters()]
        state = checkpoints.load_latest(self.folder / CHECKPOINTS, sound=names)
        if state is None or self.rollbacks >= divergence.MOST_ROLLBACKS:
            raise error
        scale, rollbacks = self.scale / 2, self.rollbacks + 1
        step = self.restore(state)
        self.scale, self.rollbacks = scale, rollbacks
        self.metrics.forget(step)
        self.learner.pass_over()
        self.save(step)  # a run that is killed from here on remembers the lower rate
        console.warning(f"{error.what}; going back to step {step} with {scale:g} times the learning rate")
        return step

    def finish(self) -> Path:
        """Write the model; return its folder."""
        # After the last checkpoint: a run that dies in between finds all steps done and writes its model when resumed.
        if self.config["checkpoints"]["model"] == "best" and math.isfinite(self.best):
            state = checkpoints.load_best(self.folder / CHECKPOINTS)
            self.learner.load_state_dict(state["learner"])
            console.info(f"the model is that of step {state['step']}, the best by {self.config['checkpoints']['best']}")
        drawn = self.config["steps"] * self.config["batch"]["accumulate"]
        whiten(self.learner, self.corpus, self.config["whitening"], first=drawn)
        target = self.folder / MODEL
        self.learner.model.save(target, model_card(self.config, self.corpus, self.learner, self.metrics.rows))
        console.info(f"the model is {target} ({self.learner.model.dimension} features)")
        return target


def learning_rate(step: int, steps: int, schedule: dict[str, Any]) -> float:
    """Return the learning rate of a step, the first of which is 1: a linear rise, then half a cosine down to `final`."""
    warmup = max(1, round(schedule["warmup"] * steps))
    if step <= warmup:
        return schedule["learning_rate"] * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    share = schedule["final"] + (1 - schedule["final"]) * (1 + math.cos(math.pi * progress)) / 2
    return schedule["learning_rate"] * share


def _optimiser(learner: Learner, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW with decay on matrices only: norms, biases and temperatures have nothing to gain from it."""
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = learner.device.type == "cuda"
    return torch.optim.AdamW(groups, lr=settings["learning_rate"], betas=(settings["beta1"], settings["beta2"]), fused=fused)


def _say_what_is_trained(learner: Learner, corpus: Corpus, validated: bool) -> None:
    families = corpus.families
    sequences = sum(f.size for f in families)
    kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[learner.precision]
    size, trained = learner.model.size, learner.model.trained_size
    weights = f"{size:,} weights" if trained == size else f"{trained:,} of {size:,} weights"
    console.info(
        f"training {learner.model.config['encoder']} ({weights}) on {len(families)} families, "
        f"{sequences:,} sequences, {learner.device.type} in {kind}"
    )
    if trained == 0:
        console.warning(
            "nothing of the model is trained, only the head, which is thrown away; for a frozen encoder say "
            "encoder.parameters.project=128 or encoder.pooling=attention"
        )
    if not validated:
        console.info("no family is large enough to hold members out; there will be no validation")


@contextlib.contextmanager
def _own_random_state(seed: int) -> Iterator[None]:
    """Seed torch (dropout) for the block, and put the caller's random state back after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
