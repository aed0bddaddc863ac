"""NWJ, the f-GAN bound for the Kullback–Leibler divergence (Nguyen 2010): unbiased, of high variance.

    I(a; b) ≥ E_pairs[ s ] - E_negatives[ exp(s - 1) ]

Nguyen, Wainwright & Jordan 2010, doi:10.1109/TIT.2010.2068870; best critic s = 1 + log p(a, b) / p(a) p(b).
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.objectives._masking import Batch, logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N)."""
    return positives(scores).mean() - (logmeanexp(scores, negatives) - 1).exp()


class Objective(nn.Module):
    """NWJ on a critic's scores."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and `bound` (nats), from a and b (N, D)."""
        value = bound(self.critic(a, b), batch.negatives())
        return {"loss": -value, "bound": value.detach()}
