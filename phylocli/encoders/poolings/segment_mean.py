"""Means of consecutive segments of equal length, side by side: keeps where in the sequence a feature is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError


class Pooling(nn.Module):
    """A sequence is divided into equal segments; each gives the mean of a linear map of its residues.

    A residue at the border of two segments belongs to both in part, so lengths need not be multiples. A decoder needs such a
    vector to restore the order of residues. The features are in the order (channel, segment): the first half of the vector
    is half of the channels of every segment, like the halves of a feature map.

    Args:
        dimension: features of a residue.
        segments: number of segments.
        channels: features of a segment.

    Raises:
        UsageError: a size below 1.
    """

    def __init__(self, dimension: int, segments: int = 8, channels: int = 32) -> None:
        super().__init__()
        if min(segments, channels) < 1:
            raise UsageError("segments and channels must be at least 1")
        self.segments = segments
        self.dimension = segments * channels
        self.channel = nn.Linear(dimension, channels)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, channels · segments)."""
        exact = torch.float64 if residues.dtype == torch.float64 else torch.float32
        length = mask.sum(1)[:, None, None].clamp(min=1).to(exact)
        start = torch.arange(mask.shape[1], device=mask.device).to(exact)[None, :, None] * self.segments / length
        segment = torch.arange(self.segments, device=mask.device)
        # The part of each segment that a residue covers; these sum to 1 over the residues.
        overlap = torch.minimum(start + self.segments / length, segment + 1) - torch.maximum(start, segment)
        weight = (overlap.clamp(min=0) * mask[..., None]).to(residues.dtype)
        inside = torch.where(mask[..., None], residues, 0)  # on CPUs faster than masked_fill, above all its gradient
        means = torch.einsum("nld,nls->nsd", inside, weight)
        return self.channel(means).transpose(1, 2).flatten(1)
