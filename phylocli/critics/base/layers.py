"""Layers shared by critics."""

from __future__ import annotations

import torch
from torch import nn


def perceptron(dimension: int, hidden: int, output: int) -> nn.Sequential:
    """Return a perceptron with two hidden layers: (…, dimension) → (…, output)."""
    return nn.Sequential(
        nn.Linear(dimension, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, output)
    )


@torch.no_grad()
def quieten(last: nn.Module, factor: float = 0.01) -> None:
    """Scale down the weights and bias of a last layer, so that its outputs start near 0."""
    for parameter in last.parameters():
        parameter.mul_(factor)
