"""Donsker–Varadhan bound: tighter than NWJ, biased in small batches.

    I(a; b) ≥ E_pairs[ s ] - log E_negatives[ exp s ]

Donsker & Varadhan 1983, doi:10.1002/cpa.3160360204. The logarithm of a batch's average underestimates, so that the
estimate is too high on average; `mine` corrects the gradient. Best critic: log p(a, b) / p(a) p(b) + any constant.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.objectives._masking import Batch, logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N)."""
    return positives(scores).mean() - logmeanexp(scores, negatives)


class Objective(nn.Module):
    """Donsker–Varadhan on a critic's scores."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and `bound` (nats), from a and b (N, D)."""
        value = bound(self.critic(a, b), batch.negatives())
        return {"loss": -value, "bound": value.detach()}
