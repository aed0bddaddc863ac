"""The largest value of each feature over residues."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """The largest value of each feature over residues."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        lowest = torch.finfo(residues.dtype).min
        return residues.masked_fill(~mask[..., None], lowest).amax(1).masked_fill(~mask.any(1, keepdim=True), 0)
