"""InfoNCE with pairs weighted by evolutionary distance: remote homologs count more, or less, than close ones.

    loss = Σᵢ wᵢ · -log  exp s(aᵢ, bᵢ) / Σⱼ exp s(aᵢ, bⱼ),   wᵢ ∝ (offset + dᵢ)^power,   Σᵢ wᵢ = 1

with j over the true partner and the negatives, in both directions, and d in expected substitutions per site. A power of 0 is
InfoNCE (van den Oord 2018, arXiv 1807.03748); a power above 0 emphasises pairs that sequence similarity alone does not
reveal. A pair without a distance has the mean weight of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import contrast, mean


class Objective(nn.Module):
    """InfoNCE on a critic's scores with weights from the pairs' distances.

    Args:
        critic: scores (N, N).
        power: of the distance; negative values favour close homologs.
        offset: added to each distance, expected substitutions per site, so that identical sequences have weight too.
    """

    def __init__(self, critic: nn.Module, *, power: float = 1.0, offset: float = 0.1) -> None:
        super().__init__()
        if offset <= 0:
            raise UsageError(f"distance-weighted cannot use the offset {offset:g}", fix="give an offset above 0")
        self.critic, self.power, self.offset = critic, power, offset

    def weights(self, distance: Tensor) -> Tensor:
        """Return the weight of each pair, (N,), of sum 1, from distances (N,), NaN where unknown."""
        known = distance.isfinite()
        weight = (self.offset + distance.nan_to_num(0.0)) ** self.power
        weight = torch.where(known, weight, mean(weight, known)) + (~known.any()).to(weight.dtype)
        return weight / weight.sum()

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (InfoNCE in nats, weighted) and its `ceiling`, from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        (forth, ceiling), (back, _) = contrast(scores, negatives), contrast(scores.T, negatives)
        weights = self.weights(batch.distance).to(scores.dtype)
        loss, top = -(weights * (forth + back) / 2).sum(), (weights * ceiling).sum()
        return {"loss": loss, "bound": (top - loss).detach(), "ceiling": top}
