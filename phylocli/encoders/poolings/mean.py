"""The average over residues."""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.encoders.base.averaging import masked_mean


class Pooling(nn.Module):
    """The average over residues."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        return masked_mean(residues, mask)
