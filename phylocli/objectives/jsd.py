"""Jensen–Shannon, Deep InfoMax's objective: steady gradients, no bound in nats of its own (Hjelm 2019).

    maximise  E_pairs[ -softplus(-s) ] - E_negatives[ softplus(s) ]

Hjelm et al. 2019, arXiv 1808.06670; Nowozin, Cseke & Tomioka 2016, arXiv 1606.00709. Its best critic is the log density
ratio, so NWJ evaluated with s + 1 gives nats (Poole et al. 2019, arXiv 1905.06922); that estimate is reported as
`bound`.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives import nwj
from phylocli.objectives._masking import LOG_2, Batch, mean, positives


def divergence(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the lower bound on the Jensen–Shannon divergence between pairs and negatives, a scalar, at most log 2."""
    return LOG_2 + (-F.softplus(-positives(scores)).mean() - mean(F.softplus(scores), negatives)) / 2


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return NWJ's bound in nats for a critic that was trained by this objective, a scalar."""
    return nwj.bound(scores + 1, negatives)


class Objective(nn.Module):
    """Jensen–Shannon on a critic's scores."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `divergence` and `bound` (nats), from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        value = divergence(scores, negatives)
        return {"loss": -2 * (value - LOG_2), "divergence": value.detach(), "bound": bound(scores, negatives).detach()}
