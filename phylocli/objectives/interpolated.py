"""The α-bound between NWJ (α = 0) and InfoNCE (α = 1): a trade-off of bias and variance (Poole 2019).

    I(a; b) ≥ 1 + E_pairs[ s - log m ] - E_negatives[ exp(s) / m ],   m = α · 1/K Σ_k exp s(a, b_k) + (1 - α) · q

K candidates b_k: in the first term the true partner and K - 1 negatives, in the second K negatives. To have the same K in
both, the first term leaves out one negative, averaged over the choice. Poole et al. 2019, arXiv 1905.06922, equation 11.
With q = 1, α = 0 is NWJ for s + 1. The first term is at most log(K/α), so the whole is at most log K for α = 1, and 1 +
log(K/α) below. Best critic with q = 1: the log density ratio.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logsumexp, mean, positives


def _log_mix(log_mean: Tensor, alpha: float, log_baseline: float) -> Tensor:
    """Return log(α · exp(log_mean) + (1 - α) · exp(log_baseline)), exact at α = 0 and 1."""
    if alpha == 1:
        return log_mean
    fixed = torch.full_like(log_mean, log_baseline)
    return fixed if alpha == 0 else torch.logaddexp(log_mean + math.log(alpha), fixed + math.log1p(-alpha))


def bound(scores: Tensor, negatives: Tensor, *, alpha: float = 0.5, log_baseline: float = 0.0) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N).

    Args:
        scores: true pairs on the diagonal.
        negatives: rows without any negative are ignored.
        alpha: in [0, 1].
        log_baseline: log q.
    """
    usable = negatives.any(1)
    count = negatives.sum(1, keepdim=True).clamp(min=1).to(scores.dtype)
    itself = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    # log Σ over all candidates except one: stable, because the sum always contains the true partner's own term.
    total = logsumexp(scores, negatives | itself, dim=1)[:, None]
    part = (scores - total).masked_fill(~negatives, -math.inf).exp()
    floor = (positives(scores)[:, None] - total).exp()
    without = total + torch.maximum(1 - part, floor).log()
    joint = positives(scores)[:, None] - _log_mix(without - count.log(), alpha, log_baseline)
    # Each row's average over its negatives, then the average over rows.
    joint_mean = mean((joint.masked_fill(~negatives, 0).sum(1) / count[:, 0])[:, None], usable[:, None])
    log_marginal = logsumexp(scores, negatives, dim=1) - count[:, 0].log()
    ratio = (log_marginal - _log_mix(log_marginal, alpha, log_baseline)).exp()
    return 1 + joint_mean - mean(ratio[:, None], usable[:, None])


class Objective(Estimator):
    """The α-bound on a critic's scores: `loss` and `bound` (nats).

    Args:
        critic: scores (N, N).
        alpha: 0 is NWJ, 1 is InfoNCE.
        log_baseline: log q, fixed.
    """

    def __init__(self, critic: nn.Module, *, alpha: float = 0.5, log_baseline: float = 0.0) -> None:
        super().__init__(critic)
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha must be between 0 and 1, not {alpha}")
        self.alpha = alpha
        self.log_baseline = log_baseline

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives, alpha=self.alpha, log_baseline=self.log_baseline)

    def ceiling(self, negatives: Tensor) -> float | None:
        """Return log K for α = 1, 1 + log(K/α) below; None for α = 0."""
        if not self.alpha:
            return None
        most = float(negatives.sum(1).max().clamp(min=1).double().log()) - math.log(self.alpha)
        return most if self.alpha == 1 else 1 + most
