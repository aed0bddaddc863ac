"""An average weighted by learned attention scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError


class Pooling(nn.Module):
    """A weighted average whose weights are a softmax of learned scores, one set of weights per head.

    The D features are split among the heads, so the result has D features for any number of heads.
    """

    def __init__(self, dimension: int, heads: int = 4) -> None:
        super().__init__()
        if dimension % heads:
            raise UsageError(
                f"attention pooling cannot split {dimension} features among {heads} heads",
                fix="give a number of heads that divides the number of features",
            )
        self.heads = heads
        self.score = nn.Linear(dimension, heads)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        n, length, dimension = residues.shape
        scores = self.score(residues).float().masked_fill(~mask[..., None], torch.finfo(torch.float32).min)
        weight = (scores.softmax(1) * mask[..., None]).to(residues.dtype)
        parts = residues.view(n, length, self.heads, dimension // self.heads)
        return torch.einsum("nlhd,nlh->nhd", parts, weight).reshape(n, dimension)
