"""Embedding regression: predict the teacher's vector by a linear map of the student's (Romero 2015, Sanh 2019).

    loss = E ‖ a/‖a‖ - b/‖b‖ ‖² = E[ 2 - 2 cos(a, b) ]

with the student's vector a after a linear map to the teacher's features, and the teacher's vector b. Hints by a learned map:
Romero et al. 2015, arXiv 1412.6550; the cosine loss of DistilBERT: Sanh et al. 2019, arXiv 1910.01108. Normalised, because
the length of a protein's vector says little, and differs among teachers. Between two views of one encoder, all vectors may
become equal: it needs a teacher, or another objective beside it. The critic is not used.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.requirements import Requirements

MAPS = "student"


class Objective(nn.Module):
    """Squared distance of normalised vectors."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.requirements = Requirements(negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and the mean `cosine`, from a and b (N, D)."""
        cosine = F.cosine_similarity(a, b, dim=1).mean()
        return {"loss": 2 - 2 * cosine, "cosine": cosine.detach()}
