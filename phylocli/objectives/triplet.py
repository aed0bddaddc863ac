"""Triplet loss: the partner above a negative by a margin, with semi-hard or hard mining (Schroff 2015).

    loss = mean over the triplets that violate it of  [ margin - s(a_i, b_i) + s(a_i, b_j) ]₊,   in both directions

With the critic `cosine` of temperature 0.5, s = 2 cos, so score differences are differences of the squared distances of unit
vectors, as in Schroff, Kalenichenko & Philbin 2015, arXiv 1503.03832 (FaceNet). They mine semi-hard negatives, because the
hardest ones lead to collapse early in training; `curriculum` moves from the median negative to the hardest instead.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import mean, positives
from phylocli.objectives.base.mining import Curriculum, mined


class Objective(nn.Module):
    """Triplet loss on a critic's scores.

    Args:
        critic: scores (N, N).
        margin: by which the partner should score higher than a negative.
        mining: `all` negatives of the batch, the `semihard` one or the `hard` one of each anchor.
        curriculum: with `hard`, number of steps over which the chosen negative moves from the median to the hardest.
    """

    def __init__(self, critic: nn.Module, *, margin: float = 0.2, mining: str = "semihard", curriculum: int = 0) -> None:
        super().__init__()
        if not margin >= 0:
            raise UsageError(f"the margin must be at least 0, not {margin:g}")
        self.critic, self.margin, self.mining = critic, margin, mining
        self.curriculum = Curriculum(mining, curriculum)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and `active` (fraction of the mined triplets that violate the margin), from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        gaps, chosen = [], []
        for direction in (scores, scores.T):
            chosen.append(mined(direction, negatives, self.mining, self.curriculum.hardness()))
            gaps.append(F.relu(self.margin - positives(direction)[:, None] + direction))
        gap, mask = torch.stack(gaps), torch.stack(chosen)
        violated = mask & (gap > 0)
        active = violated.sum() / mask.sum().clamp(min=1)
        return {"loss": mean(gap, violated), "active": active.detach()}

    def after_step(self) -> None:
        """Advance the curriculum."""
        self.curriculum.advance()
