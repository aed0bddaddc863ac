"""Who may be whose negative, said once for all objectives.

Two members of one family are homologous, and so are two families of one clan: such pairs are never negatives. They are
left out of every sum; only the pair itself is positive (but for supervised contrast, which takes the whole family).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batch:
    """What objectives know of N pairs besides their vectors.

    Attributes:
        family: a code for each pair's family, (N,) int64.
        clan: a code for each pair's clan, (N,) int64, negative where the family belongs to none.
    """

    family: Tensor
    clan: Tensor

    @classmethod
    def of_families(cls, family: Tensor, clan: Tensor | None = None) -> Batch:
        """Return a batch from family codes (N,) and, where there are any, clan codes (N,)."""
        return cls(family, torch.full_like(family, -1) if clan is None else clan)

    @classmethod
    def of_pairs(cls, n: int, device: torch.device | str = "cpu") -> Batch:
        """Return a batch of n independent pairs: each is the negative of all others."""
        return cls.of_families(torch.arange(n, device=device))

    def __len__(self) -> int:
        return len(self.family)

    def twice(self) -> Batch:
        """Return the batch for a and b stacked, (2N,)."""
        return Batch(self.family.repeat(2), self.clan.repeat(2))

    def negatives(self) -> Tensor:
        """Return which pairs may be contrasted, (N, N) bool: neither of one family nor of one clan. Symmetric."""
        kin = self.family[:, None] == self.family[None]
        kin |= (self.clan[:, None] == self.clan[None]) & (self.clan[:, None] >= 0)
        return ~kin


def positives(scores: Tensor) -> Tensor:
    """Return the scores of the true pairs, (N,)."""
    return scores.diagonal()


def at_most(negatives: Tensor, m: int | None) -> Tensor:
    """Return the mask (N, N) with at most m negatives a row: those that come next after the diagonal, around the end.

    Every row keeps min(m, what it has); None keeps all.
    """
    n = len(negatives)
    if m is None or m >= n:
        return negatives
    place = torch.arange(n, device=negatives.device)
    columns = (place[:, None] + place[None]) % n  # row i: i, i + 1, …, N - 1, 0, …, i - 1
    turned = negatives.gather(1, columns)
    kept = turned & (turned.cumsum(1) <= m)
    return torch.zeros_like(negatives).scatter(1, columns, kept)


def logsumexp(scores: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Return log Σ exp over the entries that the mask (of the scores' shape) allows; very low where it allows none."""
    allowed = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.logsumexp(allowed.flatten() if dim is None else allowed, 0 if dim is None else dim)


def logmeanexp(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the log of the average of exp over all entries that the mask allows, a scalar; 0 where it allows none."""
    value = logsumexp(scores, mask) - mask.sum().clamp(min=1).to(scores.dtype).log()
    return torch.where(mask.any(), value, 0)


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the average over all entries that the mask allows, a scalar; 0 where it allows none."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def contrast(scores: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return how each row tells its true pair from its negatives.

    Args:
        scores: (N, N), true pairs on the diagonal.
        negatives: (N, N) bool, False on the diagonal.

    Returns:
        log of the softmax probability of the true pair, (N,), and log of the number of candidates, that is the negatives
        and itself, (N,).
    """
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    log_probability = positives(scores) - logsumexp(scores, negatives | itself, dim=1)
    return log_probability, (negatives.sum(1) + 1).to(scores.dtype).log()


LOG_2 = math.log(2.0)
