"""The dot product over a temperature, fixed or learned."""

from __future__ import annotations

from torch import Tensor

from phylocli.core.errors import UsageError
from phylocli.critics.base.temperature import Scaled


class Critic(Scaled):
    """s(a, b) = aᵀ b · scale, that is, a temperature of 1/scale.

    Args:
        dimension: features of a vector (any).
        scale: a factor, or its initial value; `dimension ** -0.5` keeps the scores of random vectors near variance 1.
        learned: train the logarithm of the scale, which is at most 100.
    """

    def __init__(self, dimension: int, *, scale: float = 1.0, learned: bool = False) -> None:
        if not scale > 0:
            raise UsageError(f"the scale must be above 0, not {scale}")
        super().__init__(1 / scale, learned)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        return self.scaled(a @ b.T)
