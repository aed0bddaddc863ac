"""The mask of negatives, defined once for all objectives.

Two members of one family are homologous, and so are two families of one clan: such pairs are never negatives and are
excluded from every sum. Only the pair itself is positive (except in supervised contrast, which takes the whole family).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def negative_mask(family: Tensor, clan: Tensor, other_family: Tensor, other_clan: Tensor) -> Tensor:
    """Return which of M others are negatives of N pairs, by their codes (N,) and (M,): those sharing neither family nor
    clan.

    Returns:
        (N, M) bool.
    """
    homologs = family[:, None] == other_family[None]
    homologs |= (clan[:, None] == other_clan[None]) & (clan[:, None] >= 0)
    return ~homologs


def homolog_weights(family: Tensor, clan: Tensor) -> Tensor:
    """Return a weight for each of N pairs: 1 / the number of its homologs in the batch including itself, scaled to sum 1,
    (N,)."""
    homologs = ~negative_mask(family, clan, family, clan)
    weight = 1 / homologs.sum(1).to(torch.float64)
    return weight / weight.sum()


def positives(scores: Tensor) -> Tensor:
    """Return the scores of the true pairs, (N,)."""
    return scores.diagonal()


def at_most(negatives: Tensor, m: int | None) -> Tensor:
    """Return the mask (N, N) with at most m negatives per row: the next ones after the diagonal, cyclically.

    Every row keeps min(m, its number of negatives); None keeps all.
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
    """Return log Σ exp over the entries allowed by the mask (of the scores' shape); very low if there are none."""
    allowed = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.logsumexp(allowed.flatten() if dim is None else allowed, 0 if dim is None else dim)


def logmeanexp(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the log of the mean of exp over all entries allowed by the mask, a scalar; 0 if there are none."""
    value = logsumexp(scores, mask) - mask.sum().clamp(min=1).to(scores.dtype).log()
    return torch.where(mask.any(), value, 0)


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over all entries allowed by the mask, a scalar; 0 if there are none."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


def contrast(scores: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Return how well each row separates its true pair from its negatives.

    Args:
        scores: (N, N), true pairs on the diagonal.
        negatives: (N, N) bool, False on the diagonal.

    Returns:
        log of the softmax probability of the true pair, (N,), and log of the number of candidates, that is, the negatives
        and the true partner, (N,).
    """
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    log_probability = positives(scores) - logsumexp(scores, negatives | itself, dim=1)
    return log_probability, (negatives.sum(1) + 1).to(scores.dtype).log()


LOG_2 = math.log(2.0)
