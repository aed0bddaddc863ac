"""A generalised mean with a learned exponent (GeM), between the mean and the maximum."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """(mean xᵖ)^(1/p) with a learned p ≥ 1, between the mean (p = 1) and the maximum (p → ∞); negative values count as 0.

    Radenović, Tolias & Chum 2018 (arXiv 1711.02512).
    """

    def __init__(self, dimension: int, power: float = 3.0) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(float(power)))

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        power = self.power.clamp(min=1)
        x = residues.float().clamp(min=1e-6).pow(power) * mask[..., None]
        mean = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return mean.clamp(min=1e-20).pow(1 / power).to(residues.dtype)
