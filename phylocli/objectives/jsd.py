"""Jensen–Shannon objective of Deep InfoMax: stable gradients, but not itself a bound in nats (Hjelm 2019).

    maximise  E_pairs[ -softplus(-s) ] - E_negatives[ softplus(s) ]

Hjelm et al. 2019, arXiv 1808.06670, equation 4; Nowozin, Cseke & Tomioka 2016, arXiv 1606.00709. Its best critic is the
log density ratio, so NWJ evaluated with s + 1 gives nats (Poole et al. 2019, arXiv 1905.06922, section 2.3); that estimate
is reported as `bound`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from phylocli.objectives import nwj
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import LOG_2, mean, positives


def loss(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return E_pairs[ softplus(-s) ] + E_negatives[ softplus(s) ], a scalar, 2 log 2 for an uninformative critic."""
    return F.softplus(-positives(scores)).mean() + mean(F.softplus(scores), negatives)


def divergence(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the lower bound on the Jensen–Shannon divergence between pairs and negatives, a scalar, at most log 2."""
    return LOG_2 - loss(scores, negatives) / 2


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return NWJ's bound in nats for a critic trained by this objective, a scalar."""
    return nwj.bound(scores + 1, negatives)


class Objective(Estimator):
    """Jensen–Shannon on a critic's scores: `loss`, `divergence` and `bound` (nats)."""

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return NWJ's bound in nats."""
        return bound(scores, negatives)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss`, `divergence` and `bound`."""
        lost = loss(scores, negatives)
        return {"loss": lost, "divergence": LOG_2 - lost.detach() / 2, "bound": self.bound(scores, negatives).detach()}
