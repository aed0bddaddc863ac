"""Cosine similarity over a temperature, fixed or learned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.errors import UsageError


class Critic(nn.Module):
    """s(a, b) = cos(a, b) / τ.

    Args:
        dimension: features of a vector (any).
        temperature: τ, or where it starts.
        learned: train log(1/τ) along; 1/τ is kept at most 100, as in CLIP (Radford et al. 2021, arXiv 2103.00020).
    """

    MOST = math.log(100.0)

    def __init__(self, dimension: int, *, temperature: float = 0.1, learned: bool = False) -> None:
        super().__init__()
        if not temperature > 0:
            raise UsageError(f"the temperature must be above 0, not {temperature}")
        scale = torch.tensor(-math.log(temperature))
        if learned:
            self.log_scale = nn.Parameter(scale)
        else:
            self.register_buffer("log_scale", scale)
        self.learned = learned

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Score a (N, D) against b (M, D): (N, M)."""
        scale = self.log_scale.clamp(max=self.MOST) if self.learned else self.log_scale
        return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).T * scale.exp()
