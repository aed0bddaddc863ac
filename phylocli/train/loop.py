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
from phylocli.errors import BadInputError, UsageError
from phylocli.formats.provenance import provenance, versions
from phylocli.formats.streams import PathLike, write_text
from phylocli.recipes.layers import Layer, option
from phylocli.train import checkpoints, distributed, divergence, memory
from phylocli.train.compiled import Cache
from phylocli.train.data import Corpus, PairBatch, load_corpus
from phylocli.train.distributed import ElsewhereError, World, stream
from phylocli.train.divergence import DivergedError
from phylocli.train.folder import CHECKPOINTS, CONFIG, METRICS, MODEL, PROVENANCE, model_card, open_run, resolve
from phylocli.train.learner import Learner, choose_precision
from phylocli.train.log import MetricsLog, Reporter
from phylocli.train.measures import validate
from phylocli.train.prefetch import choose_workers, made_ahead
from phylocli.train.signals import Stop, Stopped, stop_signals
from phylocli.train.throughput import Meter
from phylocli.train.trackers import tracking
from phylocli.train.trial import leaves_out
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

    def prepared() -> tuple[dict[str, Any], dict[str, Any] | None, bool]:
        again = resume and not inputs and (folder / CONFIG).is_file()
        config = resolve(
            inputs, folder / CONFIG if again else recipe, steps, None if again else seed, settings or {}, layers
        )
        state = open_run(folder, config, resume)
        done = state is not None and state["step"] >= config["steps"]
        return config, state, done and (folder / MODEL / "config.json").is_file()

    target = choose_device(distributed.device_name(device or option(layers, "device") or "auto"))
    with distributed.joined(target) as world:
        config, state, done = world.on_main(prepared)
        if done:
            console.info(f"{folder} has done all its {config['steps']} steps; its model is {folder / MODEL}")
            return folder / MODEL
        try:
            return _train(folder, config, state, target, world, cache)
        except (Stopped, DivergedError) as error:
            if world.main:
                raise
            if isinstance(error, DivergedError):
                raise ElsewhereError(f"rank {world.rank} stops with rank 0") from None
            return folder / MODEL


def _train(
    folder: Path, config: dict[str, Any], state: dict[str, Any] | None, target: torch.device, world: World, cache: Cache
) -> Path:
    """Do the run, from its last state or from the start, and return the model folder; as one of the processes."""
    if world.size > 1 and "-" in config["inputs"]:
        raise UsageError("several processes cannot read standard input", fix="write the families to a file first")
    learner = Learner(config, config["seed"]).to(target)
    learner.world = world
    corpus = load_corpus(config["inputs"], config, config["seed"], every_view=learner.needs.views == "all", cache=cache)
    learner.precision = choose_precision(config["precision"], target)
    world.check_same("families", lambda: repr([(f.label, f.clan, f.size) for f in corpus.families]).encode())
    if corpus.pairs < world.size:
        raise UsageError(f"{corpus.pairs} pairs a step are too few for {world.size} processes", fix="give more: batch.pairs")
    optimiser = _optimiser(learner, config["optimiser"])
    held_out = corpus.validation(config["validation"]["pairs"])
    _say_what_is_trained(learner, corpus, held_out is not None)

    if state is None and world.main:
        import tomli_w

        write_text(folder / CONFIG, tomli_w.dumps({**config, "phylocli": versions()["phylocli"]}))
        write_text(
            folder / PROVENANCE, json.dumps(provenance("train", config, config["seed"]), indent=2, default=str) + "\n"
        )
    metrics = MetricsLog(folder / METRICS, upto=state["step"] if state else 0)
    with _own_random_state(config["seed"], world.rank, target), stop_signals(again=world.size == 1) as stop:
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
        return Meter(self.learner, mfu=self.config["log"]["mfu"], processes=self.world.size)

    @functools.cached_property
    def workers(self) -> int:
        """Processes that make batches; 0: a thread."""
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun: the run's processes on this machine
        return choose_workers(self.config["batch"]["workers"], self.learner.device.type, beside)

    @property
    def world(self) -> World:
        """The processes that do the run."""
        return self.learner.world

    @functools.cached_property
    def trained(self) -> nn.Module:
        """The learner, its gradients added up over all processes."""
        if self.world.size == 1:
            return self.learner
        return distributed.replicated(self.learner, loose=leaves_out(self.learner, self.corpus.batch(0)))

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
            for (row, _), same in zip(pending, self.world.from_main([row for row, _ in pending]), strict=True):
                row.update(same)  # so that all processes judge alike
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
            tracking(self.folder, config, start, main=self.world.main) as self.metrics.trackers,
        ):
            spent = waited = 0.0
            before = time.monotonic()
            self.meter.start()
            for step in range(start + 1, steps + 1):
                row, terms = self._step(step, list(itertools.islice(batches, parts)))
                pending.append((row, terms))
                last = step == steps
                if step % every == 0 or last:
                    settle()
                checked = step % config["validation"]["every"] == 0 or last
                if checked and self.held_out is not None:
                    settle()
                    row.update(self.world.from_main(validate(learner, self.held_out)))
                    self._judge(row)
                now = time.monotonic()
                row["seconds"], row["waited"], before = now - before, batches.take_waited(), now
                spent, waited = spent + row["seconds"], waited + row["waited"]
                report.step(row, important=checked or last)
                if not pending:
                    self.metrics.publish()
                if stop.agreed(self.world) and not last:
                    settle()
                    self.save(step)
                    raise stop.as_error(self.folder, step, steps)
                if step % config["checkpoints"]["every"] == 0 or last:
                    settle()
                    self.save(step)
                elif self.world.main:
                    self.metrics.write_if_older(SECONDS_BETWEEN_WRITES)
                if not pending:
                    self.meter.start()
            console.info(f"steps waited for data {waited / max(spent, 1e-9):.1%} of the time")

    def _step(self, step: int, batches: list[PairBatch]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Do one step of the optimiser on the average gradient of some batches; return its row and what is still to come."""
        learner, schedule = self.learner, self.config["optimiser"]
        rate = learning_rate(step, self.config["steps"], schedule) * self.scale
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.world.check_same("pairs", lambda: b"".join(t.tobytes() for pairs in batches for t in pairs.a + pairs.b))
        terms = memory.fitted(learner, batches, lambda: self._gradients(batches))
        norm = nn.utils.clip_grad_norm_(learner.parameters(), schedule["clip"])
        going_on = self.config["on_divergence"] == "continue"
        if going_on and self.world.any(not (norm.isfinite() & terms["loss"].isfinite())):
            console.warning(
                f"step {step} is passed over: its loss is {float(terms['loss']):g}, its gradient {float(norm):g}"
            )
            learner.pass_over()
        else:
            self.optimiser.step()
            learner.after_step()
        row: dict[str, Any] = {"step": step, "loss": None, "learning_rate": rate, "gradient_norm": None}
        row.update(pairs=sum(map(len, batches)), residues=sum(pairs.residues for pairs in batches))
        self.meter.note(row, batches)
        return row, {**terms, "gradient_norm": norm.detach()}

    def _gradients(self, batches: list[PairBatch]) -> dict[str, Tensor]:
        """Compute the average gradient of some batches; return the average of their terms."""
        self.optimiser.zero_grad(set_to_none=True)
        terms: dict[str, Tensor] = {}
        for i, pairs in enumerate(batches):
            with distributed.unsynchronised(self.trained, i + 1 < len(batches)):
                found = self.trained(pairs)
                (found["loss"] / len(batches)).backward()
            for name, value in found.items():
                terms[name] = terms.get(name, 0) + value.detach() / len(batches)
        return terms

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
            state = self.state(row["step"])
            if self.world.main:
                checkpoints.save_best(self.folder / CHECKPOINTS, row["step"], state)

    def state(self, step: int) -> dict[str, Any]:
        """Return everything that a run needs to go on after a step; all processes ask for it together."""
        own = {
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self.learner.device.type == "cuda" else None,
        }
        return {
            **own,
            "ranks": self.world.collect(own),
            "learner": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "sampler": {"seed": self.config["seed"], "next_step": step},  # batches are functions of these two
            "schedule": {"steps": self.config["steps"], **self.config["optimiser"]},
            "progress": {"scale": self.scale, "rollbacks": self.rollbacks, "best": self.best},
            "memory": {"tokens": self.learner.tokens, "cache": self.learner.cache},
        }

    def save(self, step: int) -> None:
        """Write metrics, then the checkpoint: a checkpoint's steps are always in the metrics."""
        state = self.state(step)
        if self.world.main:
            self.metrics.write()
            checkpoints.save(self.folder / CHECKPOINTS, step, state, self.config["checkpoints"]["keep"])

    def restore(self, state: dict[str, Any]) -> int:
        """Put a checkpoint's state back; return the number of steps done.

        Raises:
            BadInputError: it is that of another model.
        """
        try:
            self.learner.load_state_dict(state["learner"])
            self.optimiser.load_state_dict(state["optimiser"])
            self._restore_random(state)
            for name, value in state.get("progress", {}).items():
                setattr(self, name, value)
            for name, value in state.get("memory", {}).items():
                setattr(self.learner, name, value)
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadInputError(
                "the checkpoint does not fit the model",
                why=str(error).split("\n", 1)[0],
                fix="start again with a new run folder",
            ) from error
        return int(state["step"])

    def _restore_random(self, state: dict[str, Any]) -> None:
        ranks = state.get("ranks", [state])  # runs from before there were several have that of the one
        if len(ranks) != self.world.size:
            console.warning(
                f"the run was done by {len(ranks)} processes and goes on with {self.world.size}: batches and gradients are "
                "the same, random numbers inside the encoder (dropout) are not"
            )
            if self.world.rank >= len(ranks):
                torch.manual_seed(stream(self.config["seed"], state["step"], self.world.rank))
                return
        own = ranks[self.world.rank]
        torch.set_rng_state(own["random"])
        if own["random_cuda"] is not None and self.learner.device.type == "cuda":
            torch.cuda.set_rng_state(own["random_cuda"])

    def roll_back(self, error: DivergedError) -> int:
        """Go back to the last checkpoint with half the learning rate; return the number of steps done there.

        Raises:
            DivergedError: that was done too often, or no checkpoint is sound.
        """
        names = [name for name, _ in self.learner.named_parameters()]
        state = self.world.on_main(lambda: checkpoints.load_latest(self.folder / CHECKPOINTS, sound=names))
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
        target = self.folder / MODEL
        if not self.world.main:
            return target
        # After the last checkpoint: a run that dies in between finds all steps done and writes its model when resumed.
        if self.config["checkpoints"]["model"] == "best" and math.isfinite(self.best):
            state = checkpoints.load_best(self.folder / CHECKPOINTS)
            self.learner.load_state_dict(state["learner"])
            console.info(f"the model is that of step {state['step']}, the best by {self.config['checkpoints']['best']}")
        whiten(self.learner, self.corpus, self.config["whitening"])
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
    processes = f", {learner.world.size} processes" if learner.world.size > 1 else ""
    size, trained = learner.model.size, learner.model.trained_size
    weights = f"{size:,} weights" if trained == size else f"{trained:,} of {size:,} weights"
    console.info(
        f"training {learner.model.config['encoder']} ({weights}) on {len(families)} families, "
        f"{sequences:,} sequences, {learner.device.type} in {kind}{processes}"
    )
    if trained == 0:
        console.warning(
            "nothing of the model is trained, only the head, which is thrown away; for a frozen encoder say "
            "encoder.parameters.project=128 or encoder.pooling=attention"
        )
    if not validated:
        console.info("no family is large enough to hold members out; there will be no validation")


@contextlib.contextmanager
def _own_random_state(seed: int, rank: int, device: torch.device) -> Iterator[None]:
    """Seed torch (dropout) for the block, each process its own way, and put the caller's random state back after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, 0, rank) if rank else seed)
        yield
