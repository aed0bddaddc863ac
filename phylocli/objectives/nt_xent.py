"""NT-Xent, SimCLR's loss: InfoNCE among all 2N views (Chen 2020).

    loss = mean over the 2N views i of  -log  exp s(zᵢ, z_p(i)) / Σ_{k ≠ i} exp s(zᵢ, z_k)

with z = [a; b], p(i) the other view of the same pair, and s the cosine over a temperature. Unlike InfoNCE between a and
b, a view is also contrasted with the negatives of its own side: 2(N - 1) of them. Chen et al. 2020, arXiv 2002.05709.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import contrast


class Objective(nn.Module):
    """NT-Xent on a critic's scores (SimCLR: `cosine`)."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (InfoNCE in nats) and its `ceiling`, from a and b (N, D)."""
        z, partner = torch.cat([a, b]), torch.cat([b, a])
        n = len(a)
        # Columns are rolled by N, so that the partner of view i is on the diagonal.
        scores = self.critic(z, partner)
        negatives = batch.twice().negatives().roll(n, dims=1)
        log_probability, ceiling = contrast(scores, negatives)
        bound = (log_probability + ceiling).mean()
        return {"loss": -log_probability.mean(), "bound": bound.detach(), "ceiling": ceiling.mean()}
