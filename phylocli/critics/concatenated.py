"""A perceptron on the two concatenated vectors, evaluated in blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Critic(nn.Module):
    """s(a, b) = f([a, b]) with a perceptron f of two hidden layers, the most general critic.

    The first layer is linear in a and in b, so it is computed once per vector instead of once per pair. The other layers are
    evaluated on blocks of rows and recomputed in the backward pass, so memory grows with block · M · hidden instead of N · M
    · hidden.

    Args:
        dimension: features of a.
        hidden: features of the hidden layers.
        block: number of pairs evaluated at a time.
        other: features of b; 0: the same as a.
    """

    def __init__(self, dimension: int, *, hidden: int = 256, block: int = 16384, other: int = 0) -> None:
        super().__init__()
        self.from_a = nn.Linear(dimension, hidden)
        self.from_b = nn.Linear(other or dimension, hidden, bias=False)
        self.rest = nn.Sequential(nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1))
        self.block = block

    def _rows(self, a: Tensor, b: Tensor) -> Tensor:
        return self.rest(a[:, None] + b[None]).squeeze(-1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        left, right = self.from_a(a), self.from_b(b)
        rows = max(1, self.block // max(1, len(b)))
        if not torch.is_grad_enabled() or len(a) <= rows:
            return torch.cat([self._rows(part, right) for part in left.split(rows)])
        return torch.cat([checkpoint(self._rows, part, right, use_reentrant=False) for part in left.split(rows)])
