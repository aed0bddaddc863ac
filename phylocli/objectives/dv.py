"""Donsker–Varadhan bound: tighter than NWJ, biased in small batches.

    I(a; b) ≥ E_pairs[ s ] - log E_negatives[ exp s ]

Donsker & Varadhan 1983, doi:10.1002/cpa.3160360204. The logarithm of a batch average is too low on average, so the estimate
is too high; `mine` corrects the gradient. Best critic: log p(a, b) / p(a) p(b) + any constant.
"""

from __future__ import annotations

from torch import Tensor

from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N)."""
    return positives(scores).mean() - logmeanexp(scores, negatives)


class Objective(Estimator):
    """Donsker–Varadhan on a critic's scores: `loss` and `bound` (nats)."""

    side = "neither"  # a lower bound with infinitely many negatives only

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives)
