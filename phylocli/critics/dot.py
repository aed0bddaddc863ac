"""The dot product."""

from __future__ import annotations

from torch import Tensor, nn


class Critic(nn.Module):
    """s(a, b) = aᵀ b · scale.

    Args:
        dimension: features of a vector (any).
        scale: a fixed factor; `dimension ** -0.5` keeps the scores of random vectors near variance 1.
    """

    def __init__(self, dimension: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        return a @ b.T * self.scale
