"""The training state, saved to and restored from checkpoints."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import cast

import torch

from phylocli.core.errors import BadInputError
from phylocli.train import randomness
from phylocli.train.optimiser import Schedule
from phylocli.train.parallel.strategy import Strategy, Trainable
from phylocli.train.saved import RandomState, Saved


@dataclass
class TrainState:
    """Everything that changes from step to step, except the state of torch's random number generators.

    Attributes:
        task: model, head, critic and objective, including momentum encoder, memory banks and running averages.
        optimiser: the optimiser with its moments.
        schedule: the learning-rate schedule; its scale is halved at each rollback.
        step: number of completed steps.
        rollbacks: number of returns to a checkpoint.
        best: the best validation metric so far, with its sign chosen so that larger is better.
    """

    task: Trainable
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    step: int = 0
    rollbacks: int = 0
    best: float = -math.inf

    def capture(self, strategy: Strategy) -> Saved:
        """Return the complete state for resuming after this step. Collective: all processes must call it."""
        own = randomness.random_state(self.task.device)
        execution = self.task.execution
        return {
            **own,
            "ranks": strategy.world.collect(own),
            **strategy.state(),
            "sampler": {"seed": self.task.seed, "next_step": self.step},
            "schedule": asdict(self.schedule),
            "progress": {"scale": self.schedule.scale, "rollbacks": self.rollbacks, "best": self.best},
            "execution": {"max_tokens": execution.max_tokens, "grad_cache": execution.grad_cache},
        }

    def restore(self, saved: Saved, strategy: Strategy) -> None:
        """Restore the state of a checkpoint. Collective: all processes must call it.

        Args:
            saved: a loaded checkpoint.
            strategy: the strategy that trains `task`.

        Raises:
            BadInputError: the checkpoint was saved for a different model.
        """
        try:
            strategy.restore(saved)
            # Earlier versions saved the random state of a single process at the top level.
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
                "the checkpoint does not match the model",
                why=str(error).split("\n", 1)[0],
                fix="start again with a new run folder",
            ) from error
