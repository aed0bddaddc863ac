"""AdamW and the learning-rate schedule: linear warm-up, then cosine decay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from phylocli.config.train import OptimiserConfig


def make_optimiser(
    parameters: list[nn.Parameter], config: OptimiserConfig, apart: Callable[[nn.Parameter], bool] | None = None
) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices only, not on norms, biases and temperatures.

    Args:
        parameters: the parameters; those without `requires_grad` are ignored.
        config: the table `optimiser` of the run's configuration.
        apart: identifies parameters that need their own groups; the optimiser then has four groups instead of two.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if apart is not None:
        groups = [{**g, "params": [p for p in g["params"] if apart(p) == kind]} for g in groups for kind in (True, False)]
    fused = trained[0].device.type == "cuda"
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=fused)


@dataclass
class Schedule:
    """The learning-rate schedule: linear warm-up, then cosine decay.

    Attributes:
        steps: number of steps of the run.
        learning_rate: the peak rate.
        warmup: fraction of the steps used for warm-up.
        final: the rate of the last step as a fraction of the peak rate.
        scale: factor applied to all rates.
    """

    steps: int
    learning_rate: float
    warmup: float
    final: float
    scale: float = 1.0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        warmup = max(1, round(self.warmup * self.steps))
        if step <= warmup:
            return self.learning_rate * step / warmup * self.scale
        progress = (step - warmup) / max(1, self.steps - warmup)
        fraction = self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
        return self.learning_rate * fraction * self.scale
