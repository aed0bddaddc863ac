"""InfoNCE with a regression of embedding distance on evolutionary distance.

    loss = InfoNCE + weight · mean over pairs with a distance of ( (1 - cos(aᵢ, bᵢ)) - t(dᵢ) )²,   t(d) = 1 - exp(-d / scale)

with d in expected substitutions per site. Like the observed difference between two sequences, t saturates: under a Poisson
model the probability that a site has changed is 1 - exp(-d) (Zuckerkandl & Pauling 1965,
doi:10.1016/B978-1-4832-2734-4.50017-6). Distances between families are unknown; such pairs are only contrasted.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives import infonce
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import mean


class Objective(infonce.Objective):
    """InfoNCE on a critic's scores with a regression of the cosine distance of true pairs.

    Args:
        critic: scores (N, N).
        weight: of the regression.
        scale: distance at which the target is 1 - 1/e, expected substitutions per site.
    """

    def __init__(self, critic: nn.Module, *, weight: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(critic)
        if weight < 0 or scale <= 0:
            raise UsageError(f"distance-regression cannot use weight {weight:g} and scale {scale:g}", fix="scale > 0")
        self.weight, self.scale = weight, scale

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return InfoNCE's terms and `regression`, from a and b (N, D); pairs without a distance are excluded from it."""
        terms = super().forward(a, b, batch)
        known = batch.distance.isfinite()
        target = 1 - torch.exp(-batch.distance.nan_to_num(0.0) / self.scale)
        regression = mean((1 - F.cosine_similarity(a, b) - target.to(a.dtype)) ** 2, known)
        return {**terms, "loss": terms["loss"] + self.weight * regression, "regression": regression.detach()}
