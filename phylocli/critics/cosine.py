"""Cosine similarity over a temperature, fixed or learned."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from phylocli.critics.base.temperature import Scaled


class Critic(Scaled):
    """s(a, b) = cos(a, b) / τ.

    Args:
        dimension: features of a vector (any).
        temperature: τ, or its initial value.
        learned: train log(1/τ); 1/τ is at most 100.
    """

    def __init__(self, dimension: int, *, temperature: float = 0.1, learned: bool = False) -> None:
        super().__init__(temperature, learned)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        return self.scaled(F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T)
