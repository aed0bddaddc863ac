"""Sinkhorn–Knopp: soft assignments with given marginals (Cuturi 2013, arXiv 1306.0895), in logarithms."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinkhorn(scores: Tensor, epsilon: float, iterations: int, weights: Tensor | None = None) -> Tensor:
    """Return the assignment of N samples to K prototypes that uses all prototypes equally, (N, K), each row of sum 1.

    It is Q = argmax ⟨Q, scores⟩ + ε H(Q) over the couplings whose columns sum to 1/K and whose rows sum to the weights,
    computed by scaling columns and rows alternately, and then divided by the weights. Rows are scaled last, so row sums are
    exact and column sums converge with the iterations. As ε → 0 it becomes the optimal transport plan.

    Args:
        scores: (N, K).
        epsilon: ε, the smoothness.
        iterations: number of scalings of columns and rows.
        weights: weight of each sample, (N,), of sum 1; None: 1/N. A sample of weight 0 has no influence, and its own row is
            undefined.
    """
    n, k = scores.shape
    mass = torch.full_like(scores[:, 0], 1 / n) if weights is None else weights.to(scores.dtype)
    limits = torch.finfo(scores.dtype)
    rows = mass.clamp(min=limits.tiny).log()[:, None]
    plan = (scores / epsilon).masked_fill(mass[:, None] == 0, limits.min / 4)
    for _ in range(iterations):
        plan = plan - plan.logsumexp(0, keepdim=True) - math.log(k)
        plan = plan - plan.logsumexp(1, keepdim=True) + rows
    return (plan - rows).exp()
