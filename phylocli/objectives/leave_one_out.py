"""Leave-one-out: an upper bound whose marginal is the mean density given the other vectors (Poole 2019).

    I(a; b) ≤ E[ 1/N Σ_i log  p(b_i | a_i) / ( 1/(N-1) Σ_{j≠i} p(b_i | a_j) ) ]

Poole et al. 2019, arXiv 1905.06922, section 2: the mean of the other N - 1 densities is an unbiased estimate of p(b),
whose logarithm is too low on average, by less the more negatives there are. It is an upper bound for the true density p(b
| a). A learned decoder q changes the value by -E KL( p(b | a) ‖ q(b | a) ) and by the error of the mean, so it is a bound
only as far as the decoder is accurate. Densities may have any factor that depends on b alone.
"""

from __future__ import annotations

from torch import Tensor

from phylocli.objectives.base.decoder_estimator import DecoderEstimator
from phylocli.objectives.base.masking import logsumexp, mean, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores log p(b | a) + c(b), (N, N), and the mask of negatives (N, N)."""
    others = negatives.T  # of each b, the a's that it may be contrasted with
    count = others.sum(1)
    marginal = logsumexp(scores.T, others, dim=1) - count.clamp(min=1).to(scores.dtype).log()
    return mean(positives(scores) - marginal, count > 0)


class Objective(DecoderEstimator):
    """Leave-one-out on a decoder: `loss` (negative log densities) and `bound` (nats)."""

    side = "upper"

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives)
