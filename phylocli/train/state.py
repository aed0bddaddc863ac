"""The state of training: all that changes from step to step, to and from checkpoints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import cast

import torch

from phylocli.core.errors import BadInputError
from phylocli.train import randomness
from phylocli.train.optimiser import Schedule
from phylocli.train.parallel.strategy import Strategy
from phylocli.train.saved import RandomState, Saved
from phylocli.train.task import ContrastiveTask


@dataclass
class TrainState:
    """All that changes from step to step; the generators of random numbers are torch's own.

    Attributes:
        task: model, head, critic and objective, with momentum encoder, memory banks and averages.
        optimiser: with its moments.
        schedule: of the learning rate; its scale is halved at each rollback.
        step: number of steps done.
        rollbacks: number of returns to a checkpoint.
        best: the best validation metric so far, larger is better.
    """

    task: ContrastiveTask
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    step: int = 0
    rollbacks: int = 0
    best: float = -math.inf

    def capture(self, strategy: Strategy) -> Saved:
        """Return the complete state for resuming after this step, as plain data; all processes call it together."""
        own = randomness.random_state(self.task.device)
        execution = self.task.execution
        return {
            **own,
            "ranks": strategy.world.collect(own),
            **strategy.state(),
            "sampler": {"seed": self.task.seed, "next_step": self.step},  # batches are functions of these two
            "schedule": asdict(self.schedule),
            "progress": {"scale": self.schedule.scale, "rollbacks": self.rollbacks, "best": self.best},
            "execution": {"max_tokens": execution.max_tokens, "grad_cache": execution.grad_cache},
        }

    def restore(self, saved: Saved, strategy: Strategy) -> None:
        """Restore the state of a checkpoint; all processes call this together.

        Args:
            saved: as `checkpoints` loads it.
            strategy: contains the task and the optimiser.

        Raises:
            BadInputError: it is that of another model.
        """
        try:
            strategy.restore(saved)
            # Earlier versions, with one process, saved its random state directly.
            ranks = saved.get("ranks") or [cast(RandomState, saved)]
            randomness.restore(ranks, strategy.world, self.task.device, self.task.seed, saved["step"])
            progress, execution = saved.get("progress", {}), saved.get("execution", {})
            self.schedule.scale = progress.get("scale", 1.0)
            self.rollbacks = progress.get("rollbacks", 0)
            self.best = progress.get("best", -math.inf)
            self.task.execution.max_tokens = execution.get("max_tokens", self.task.execution.max_tokens)
            self.task.execution.grad_cache = execution.get("grad_cache", self.task.execution.grad_cache)
            self.step = int(saved["step"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise BadInputError(
                "the checkpoint does not fit the model",
                why=str(error).split("\n", 1)[0],
                fix="start again with a new run folder",
            ) from error
