"""The vector of the first residue, for encoders that collect the sequence there (CLS)."""

from __future__ import annotations

from torch import Tensor, nn


class Pooling(nn.Module):
    """The vector of the first residue (for encoders that collect the sequence there)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        return residues[:, 0] * mask[:, :1]
