"""Poolings: residues (N, L, D) → one vector a sequence (N, D), blind to padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core import plugins
from phylocli.core.errors import UsageError


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(x.dtype)
    return torch.einsum("nld,nl->nd", x, weight) / weight.sum(1, keepdim=True).clamp(min=1)


ROWS = 1024
"""Residues, the features of which are held at once where no gradient is wanted: few enough to stay in a core's cache."""


def mean_of(features: Callable[[Tensor], Tensor], residues: Tensor, mask: Tensor) -> Tensor:
    """Return the average over residues of many features of each, (N, F).

    On a CPU, without gradients, the features are made for one sequence at a time and never leave the cache; padding is not
    looked at. That is half the time of making them for all.

    Args:
        features: residues (…, R) → (…, F), each by itself.
        residues: (N, L, R).
        mask: (N, L), True on residues, which fill each row from the left.
    """
    if torch.is_grad_enabled() or residues.device.type != "cpu" or residues.shape[1] == 1:
        return _mean(features(residues), mask)
    sums = []
    for row, length in zip(residues, mask.sum(1).tolist(), strict=True):
        parts = [features(part).sum(0, dtype=torch.float32) for part in row[: max(1, length)].split(ROWS)]
        sums.append(sum(parts[1:], parts[0]) / length if length else torch.zeros_like(parts[0]))
    return torch.stack(sums)


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
        return mean_of(lambda x: F.gelu(self.expand(x)), residues, mask)


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


def pooling_named(name: str) -> type[nn.Module]:
    """Return the class of a pooling.

    Raises:
        UsageError: no such pooling.
    """
    if name not in POOLINGS:
        raise UsageError(f"there is no pooling named {name!r}", fix=f"known: {', '.join(POOLINGS)}")
    return POOLINGS[name]


def build_pooling(name: str, dimension: int, parameters: dict[str, Any] | None = None) -> nn.Module:
    """Return a pooling for residues of `dimension` features.

    Raises:
        UsageError: no such pooling, a parameter that it does not have, or a value out of range.
    """
    return plugins.make("pooling", name, pooling_named(name), dimension, parameters=parameters or {})
