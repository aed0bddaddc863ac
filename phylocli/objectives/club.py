"""CLUB: log density of true pairs against that of shuffled pairs, an upper bound (Cheng 2020).

    I(a; b) ≤ E_pairs[ log p(b | a) ] - E_negatives[ log p(b | a) ]

Cheng et al. 2020, arXiv 2006.12013, theorem 3.1. The gap is KL( p(a) p(b) ‖ p(a, b) ), which grows faster than the
information: with Gaussians of correlation ρ, the value is D ρ²/(1 - ρ²) instead of -D/2 log(1 - ρ²). With
a learned decoder q (vCLUB) it is an upper bound as long as q is closer to p(a, b) than to p(a) p(b) in Kullback-Leibler
divergence.
"""

from __future__ import annotations

from torch import Tensor

from phylocli.objectives.base.decoder_estimator import DecoderEstimator
from phylocli.objectives.base.masking import mean, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores log p(b | a) + c(b), (N, N), and the mask of negatives (N, N)."""
    return positives(scores).mean() - mean(scores, negatives)


class Objective(DecoderEstimator):
    """CLUB on a decoder: `loss` (negative log densities) and `bound` (nats)."""

    side = "upper"

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives)
