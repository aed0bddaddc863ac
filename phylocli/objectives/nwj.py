"""NWJ, the f-GAN bound for the Kullback–Leibler divergence (Nguyen 2010): unbiased, with high variance.

    I(a; b) ≥ E_pairs[ s ] - E_negatives[ exp(s - 1) ]

Nguyen, Wainwright & Jordan 2010, doi:10.1109/TIT.2010.2068870; best critic s = 1 + log p(a, b) / p(a) p(b).
"""

from __future__ import annotations

from torch import Tensor

from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N)."""
    return positives(scores).mean() - (logmeanexp(scores, negatives) - 1).exp()


class Objective(Estimator):
    """NWJ on a critic's scores: `loss` and `bound` (nats)."""

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives)

    def best_scores(self, log_ratio: Tensor) -> Tensor:
        """Return 1 + the log ratio."""
        return log_ratio + 1
