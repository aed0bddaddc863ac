"""The loop: steps, what is measured between them, checkpoints, and the ways back from a bad end; read it top to bottom."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats.streams import OutputError
from phylocli.train import checkpoints, divergence, randomness
from phylocli.train.data.batch_sampler import Corpus
from phylocli.train.data.prefetcher import choose_workers, made_ahead
from phylocli.train.data.types import PairBatch
from phylocli.train.divergence import DivergedError
from phylocli.train.finalize.steps import complete
from phylocli.train.optimiser import learning_rate
from phylocli.train.parallel import oom
from phylocli.train.parallel.strategy import Engine
from phylocli.train.parallel.world import World
from phylocli.train.report.metrics import MetricsLog, Reporter
from phylocli.train.report.throughput import Meter
from phylocli.train.report.trackers import tracking
from phylocli.train.run_folder import CHECKPOINTS, MODEL, model_card
from phylocli.train.signals import Stop
from phylocli.train.task import Learner
from phylocli.train.validation import validate

SECONDS_BETWEEN_WRITES = 30.0


@dataclass
class Run:
    """A run and all that it changes; as one of its processes.

    Attributes:
        folder: of the run.
        config: every setting, resolved.
        corpus: gives the batches.
        engine: holds the weights.
        metrics: one row a step.
        meter: measures how fast steps are.
        held_out: pairs for validation; None where no family is large enough.
        stop: says when to end before the last step.
        scale: of the learning rate; halved at each rollback.
        rollbacks: how many there were.
        best: the best validation figure so far, larger is better.
    """

    folder: Path
    config: dict[str, Any]
    corpus: Corpus
    engine: Engine
    metrics: MetricsLog
    meter: Meter
    held_out: PairBatch | None
    stop: Stop
    scale: float = 1.0
    rollbacks: int = 0
    best: float = -math.inf

    @property
    def learner(self) -> Learner:
        """What is trained."""
        return self.engine.learner

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
                    with self._resumable():
                        self.metrics.write_if_older(SECONDS_BETWEEN_WRITES)
                if not pending:
                    self.meter.start()
            console.info(f"steps waited for data {waited / max(spent, 1e-9):.1%} of the time")

    def _step(self, step: int, batches: list[PairBatch]) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Do one step of the optimiser on the average gradient of some batches; return its row and what is still to come."""
        engine, learner, schedule = self.engine, self.learner, self.config["optimiser"]
        rate = learning_rate(step, self.config["steps"], schedule) * self.scale
        for group in engine.optimiser.param_groups:
            group["lr"] = rate
        self.world.check_same("pairs", lambda: b"".join(t.tobytes() for pairs in batches for t in pairs.a + pairs.b))
        terms = oom.fitted(learner, batches, lambda: engine.gradients(batches))
        norm = engine.clip(schedule["clip"])
        going_on = self.config["on_divergence"] == "continue"
        if going_on and self.world.any(not (norm.isfinite() & terms["loss"].isfinite())):
            console.warning(
                f"step {step} is passed over: its loss is {float(terms['loss']):g}, its gradient {float(norm):g}"
            )
            learner.pass_over()
        else:
            engine.optimiser.step()
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
            state = self.state(row["step"])
            if self.world.main:
                with self._resumable():
                    checkpoints.save_best(self.folder / CHECKPOINTS, row["step"], state)

    def state(self, step: int) -> dict[str, Any]:
        """Return everything that a run needs to go on after a step; all processes ask for it together."""
        own = randomness.random_state(self.learner.device)
        return {
            **own,
            "ranks": self.world.collect(own),
            **self.engine.state(),
            "sampler": {"seed": self.config["seed"], "next_step": step},  # batches are functions of these two
            "schedule": {"steps": self.config["steps"], **self.config["optimiser"]},
            "progress": {"scale": self.scale, "rollbacks": self.rollbacks, "best": self.best},
            "memory": {"tokens": self.learner.tokens, "cache": self.learner.cache},
        }

    def save(self, step: int) -> None:
        """Write metrics, then the checkpoint: a checkpoint's steps are always in the metrics."""
        state = self.state(step)
        if self.world.main:
            with self._resumable():
                self.metrics.write()
                keep, every = self.config["checkpoints"]["keep"], self.config["checkpoints"]["every"]
                checkpoints.save(self.folder / CHECKPOINTS, step, state, keep, every)

    @contextlib.contextmanager
    def _resumable(self) -> Iterator[None]:
        """Say from where a run goes on whose files cannot be written."""
        try:
            yield
        except OutputError as error:
            there = checkpoints.found(self.folder / CHECKPOINTS)
            kept = f"the last checkpoint is {there[-1].name}" if there else "there is no checkpoint yet"
            command = f"phylocli train --resume -o {shlex.quote(str(self.folder))}"
            raise OutputError(error.what, error.why, f"mend that, then go on with: {command} ({kept})") from error

    def restore(self, state: dict[str, Any]) -> int:
        """Put a checkpoint's state back; return the number of steps done.

        Raises:
            BadInputError: it is that of another model.
        """
        try:
            self.engine.restore(state)
            ranks = state.get("ranks", [state])  # runs from before there were several have that of the one
            randomness.put_back(ranks, self.world, self.learner.device, self.config["seed"], state["step"])
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

    def roll_back(self, error: DivergedError) -> int:
        """Go back to the last checkpoint with half the learning rate; return the number of steps done there.

        Raises:
            DivergedError: that was done too often, or no checkpoint is sound.
        """
        names = [name for name, _ in self.learner.named_parameters()]
        folder = self.folder / CHECKPOINTS
        state = checkpoints.from_main(self.world, lambda: checkpoints.load_latest(folder, sound=names))
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
        target, engine = self.folder / MODEL, self.engine
        # After the last checkpoint: a run that dies in between finds all steps done and writes its model when resumed.
        if self.config["checkpoints"]["model"] == "best" and math.isfinite(self.best):
            state = checkpoints.from_main(self.world, lambda: checkpoints.load_best(self.folder / CHECKPOINTS))
            assert state is not None
            engine.restore_learner(state)
            console.info(f"the model is that of step {state['step']}, the best by {self.config['checkpoints']['best']}")
        if self.world.main or self.learner.sharded:
            complete(self.learner, self.corpus, self.config)
        model = engine.model()
        if model is not None:
            with self._resumable():
                model.save(target, model_card(self.config, self.corpus, model, self.metrics.rows))
            console.info(f"the model is {target} ({model.dimension} features)")
        return target
