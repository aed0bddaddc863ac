"""Decoupled contrastive loss: InfoNCE without the positive pair in the denominator, for small batches (Yeh 2022).

    loss = mean over i of  -s(aᵢ, bᵢ) + log Σ_{j in negatives of i} exp s(aᵢ, bⱼ),   in both directions

Yeh et al. 2022, arXiv 2110.06848: without this coupling, easy pairs no longer reduce the gradient of their negatives.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logsumexp, mean, positives


class Objective(nn.Module):
    """Decoupled contrastive loss on a critic's scores. Pairs without any negative in the batch are ignored."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        denominators = logsumexp(scores, negatives, dim=1) + logsumexp(scores, negatives, dim=0)
        return {"loss": mean(denominators / 2 - positives(scores), negatives.any(1))}
