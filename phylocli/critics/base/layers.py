"""What critics with layers of their own share."""

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
    """Scale the weights of a last layer, and its bias, so that what it gives starts near 0."""
    for parameter in last.parameters():
        parameter.mul_(factor)
