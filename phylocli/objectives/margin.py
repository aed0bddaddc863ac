"""Margin loss: partners above a learned boundary, negatives below it, both by a margin (Wu 2017).

    loss = mean over the pairs that violate it of  [ margin + β - s(a_i, b_i) ]₊  and  [ margin - β + s(a_i, b_j) ]₊

in both directions, with the boundary β learned. Wu, Manmatha, Smola & Krähenbühl 2017, arXiv 1706.07567, with scores in
place of distances, one β for all, and negatives mined by their scores instead of sampled by distance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import positives
from phylocli.objectives.base.mining import Curriculum, mined


class Objective(nn.Module):
    """Margin loss on a critic's scores.

    Args:
        critic: scores (N, N).
        margin: on each side of the boundary.
        boundary: initial value of β.
        mining: `all` negatives of the batch, the `semihard` one or the `hard` one of each anchor.
        curriculum: with `hard`, number of steps over which the chosen negative moves from the median to the hardest.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        margin: float = 0.2,
        boundary: float = 1.0,
        mining: str = "semihard",
        curriculum: int = 0,
    ) -> None:
        super().__init__()
        if not margin >= 0:
            raise UsageError(f"the margin must be at least 0, not {margin:g}")
        self.critic, self.margin, self.mining = critic, margin, mining
        self.boundary = nn.Parameter(torch.tensor(float(boundary)))
        self.curriculum = Curriculum(mining, curriculum)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `boundary` and `active` (fraction of the pairs that violate the margin), from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        near = F.relu(self.margin + self.boundary - positives(scores))
        far = F.relu(self.margin - self.boundary + scores)
        hardness = self.curriculum.hardness()
        masks = (mined(scores, negatives, self.mining, hardness), mined(scores.T, negatives, self.mining, hardness).T)
        pairs = 2 * len(near) + sum(mask.sum() for mask in masks)
        count = 2 * (near > 0).sum() + sum((mask & (far > 0)).sum() for mask in masks)
        total = 2 * near.sum() + sum(far.masked_fill(~mask, 0).sum() for mask in masks)
        terms = {"boundary": self.boundary.detach(), "active": (count / pairs).detach()}
        return {"loss": total / count.clamp(min=1), **terms}

    def after_step(self) -> None:
        """Advance the curriculum."""
        self.curriculum.advance()
