"""A learned bilinear form, as in contrastive predictive coding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Critic(nn.Module):
    """s(a, b) = aᵀ W b, with W initialised as the identity over √D (van den Oord, Li & Vinyals 2018, arXiv 1807.03748).

    Args:
        dimension: features D of a.
        other: features of b; 0: the same as a.
    """

    def __init__(self, dimension: int, *, other: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dimension, other or dimension) * dimension**-0.5)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        return a @ self.weight @ b.T
