"""Poolings: residues (N, L, D) → one vector a sequence (N, D), blind to padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.errors import UsageError


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(x.dtype)
    return torch.einsum("nld,nl->nd", x, weight) / weight.sum(1, keepdim=True).clamp(min=1)


class Mean(nn.Module):
    """The average over residues."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        return _mean(residues, mask)


class FeatureMean(nn.Module):
    """The average over residues of learned features of each: mean of gelu(W·x + b), as many features as one likes.

    An average of D values says little of what a sequence holds; wider, it comes nearer to a bag of learned motifs. The
    encoder itself stays as narrow, and as fast, as it was.
    """

    def __init__(self, dimension: int, features: int = 512) -> None:
        super().__init__()
        if features < 1:
            raise UsageError(f"the pooling cannot have {features} features")
        self.dimension = features
        self.expand = nn.Linear(dimension, features)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, features)."""
        return _mean(F.gelu(self.expand(residues)), mask)


class Max(nn.Module):
    """The largest value of each feature over residues."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        lowest = torch.finfo(residues.dtype).min
        return residues.masked_fill(~mask[..., None], lowest).amax(1).masked_fill(~mask.any(1, keepdim=True), 0)


class First(nn.Module):
    """The first residue's vector (for encoders that gather the sequence there)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        return residues[:, 0] * mask[:, :1]


class Attention(nn.Module):
    """A weighted average whose weights are a softmax of learned scores, one set of weights a head.

    The D features are split among the heads, so the result has D features whatever their number.
    """

    def __init__(self, dimension: int, heads: int = 4) -> None:
        super().__init__()
        if dimension % heads:
            raise UsageError(f"attention pooling cannot split {dimension} features among {heads} heads")
        self.heads = heads
        self.score = nn.Linear(dimension, heads)

    def forward(self, residues: Tensor, mask: Tensor) -> Tensor:
        """Pool residues (N, L, D) with mask (N, L) to (N, D)."""
        n, length, dimension = residues.shape
        scores = self.score(residues).float().masked_fill(~mask[..., None], torch.finfo(torch.float32).min)
        weight = (scores.softmax(1) * mask[..., None]).to(residues.dtype)
        parts = residues.view(n, length, self.heads, dimension // self.heads)
        return torch.einsum("nlhd,nlh->nhd", parts, weight).reshape(n, dimension)


class GeneralisedMean(nn.Module):
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


POOLINGS: dict[str, type[nn.Module]] = {
    "mean": Mean,
    "feature-mean": FeatureMean,
    "max": Max,
    "attention": Attention,
    "first": First,
    "generalised-mean": GeneralisedMean,
}
"""The poolings by the names that `--pool` takes."""


def build_pooling(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return a pooling for residues of `dimension` features.

    Raises:
        UsageError: no such pooling, or a parameter that it does not have.
    """
    if name not in POOLINGS:
        raise UsageError(f"there is no pooling named {name!r}", fix=f"known: {', '.join(POOLINGS)}")
    try:
        return POOLINGS[name](dimension, **(parameters or {}))
    except TypeError as error:
        raise UsageError(f"the pooling {name!r} does not take these parameters", why=str(error)) from error
