"""AdamW and its learning rate: a linear rise, then half a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def make_optimiser(
    parameters: list[nn.Parameter], settings: dict[str, Any], apart: Callable[[nn.Parameter], bool] | None = None
) -> torch.optim.Optimizer:
    """Return AdamW with decay on matrices only: norms, biases and temperatures have nothing to gain from it.

    Args:
        parameters: those without `requires_grad` are left out.
        settings: `optimiser` of the run.
        apart: tells a kind of parameters that may not meet the others in one group: the groups are then four, two of each.
    """
    trained = [p for p in parameters if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    if apart is not None:
        groups = [{**g, "params": [p for p in g["params"] if apart(p) == kind]} for g in groups for kind in (True, False)]
    fused = trained[0].device.type == "cuda"
    rate, betas = settings["learning_rate"], (settings["beta1"], settings["beta2"])
    return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=fused)


def learning_rate(step: int, steps: int, schedule: dict[str, Any]) -> float:
    """Return the learning rate of a step, the first of which is 1: a linear rise, then half a cosine down to `final`."""
    warmup = max(1, round(schedule["warmup"] * steps))
    if step <= warmup:
        return schedule["learning_rate"] * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    share = schedule["final"] + (1 - schedule["final"]) * (1 + math.cos(math.pi * progress)) / 2
    return schedule["learning_rate"] * share
