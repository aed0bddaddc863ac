"""What critics with layers of their own share."""

from __future__ import annotations

from torch import nn


def perceptron(dimension: int, hidden: int, output: int) -> nn.Sequential:
    """Return a perceptron with two hidden layers: (…, dimension) → (…, output)."""
    return nn.Sequential(
        nn.Linear(dimension, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, output)
    )
