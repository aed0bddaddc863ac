"""Supervised cross-entropy: a linear classifier of families on each of the two views.

    loss = mean over views z of  -log  exp(w_f · z + b_f) / Σ_{families k} exp(w_k · z + b_k),   f the family of z

The reference with which supervised contrast (`supcon`) is compared in Khosla et al. 2020, arXiv 2004.11362, section 4: one
stage of training, without a projection head. The classifier is discarded after training. Families of the same clan as f are
not in the sum.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.classes import FamilyClassifier
from phylocli.objectives.base.requirements import Requirements


class Objective(FamilyClassifier):
    """Cross-entropy of the families of the training data.

    Args:
        critic: not used, except for the validation figures.
        dimension: features of a view's vector.
    """

    def __init__(self, critic: nn.Module, *, dimension: int) -> None:
        super().__init__(dimension, learned=True, bias=True)
        self.requirements = Requirements(classes=True, negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` (nats) and `accuracy`, from a and b (N, D)."""
        assert self.weight is not None
        return self.classified([F.linear(z, self.weight, self.bias) for z in (a, b)], batch)
