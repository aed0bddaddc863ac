"""Supervised multi-crop: every crop is assigned to its family by the cosine with a prototype of each (Sariyildiz 2023).

    loss = mean over crops z of  -log  exp(cos(z, c_f) / τ) / Σ_{families k} exp(cos(z, c_k) / τ),   f the family of z

The prototypes c are weights, or the means of the vectors of earlier steps by family: online class means, from a memory bank
without gradient. The projection head before it, which is discarded after training, determines the trade-off between the
families of training and others: its number of layers is `head.layers`. Sariyildiz, Kalantidis, Alahari & Larlus 2023, No
reason for no supervision: improved generalization in supervised models (ICLR), arXiv 2206.15369. Families of the same clan
as f are not in the sum.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.classes import FamilyClassifier
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.base.requirements import Requirements


class Objective(FamilyClassifier):
    """Softmax of cosines with class prototypes, over all views.

    Args:
        critic: not used, except for the validation figures.
        dimension: features of a view's vector.
        temperature: τ.
        prototypes: `learned`, or `means`: online class means.
        queue: for `means`: number of vectors of earlier steps, of the two large crops, whose means are the prototypes.
            Families without a vector among them are not answers, and their crops do not count.

    Raises:
        UsageError: a temperature that is not above 0, no such kind of prototypes, or means of a queue without vectors.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        dimension: int,
        temperature: float = 0.1,
        prototypes: Literal["learned", "means"] = "means",
        queue: int = 8192,
    ) -> None:
        if temperature <= 0 or prototypes not in ("learned", "means"):
            raise UsageError("cosine-softmax needs a temperature above 0, and prototypes that are learned or means")
        if prototypes == "means" and queue < 1:
            raise UsageError("class means need vectors", fix="raise objective.queue, or set objective.prototypes=learned")
        super().__init__(dimension, learned=prototypes == "learned", bias=False)
        self.temperature = temperature
        self.queue = MemoryBank(queue, dimension) if prototypes == "means" else None
        self.requirements = Requirements(views="all", classes=True, negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` (nats) and `accuracy`; a and b are the large crops (N, D), `batch.more` may hold small ones."""
        centres, present = self.prototypes(a)
        views = [F.normalize(z, dim=1) @ centres.T / self.temperature for z in (a, b, *batch.more)]
        if self.queue is not None and self.training:
            for z in (a, b):
                self.queue.add(F.normalize(z.detach(), dim=1), batch)
        return self.classified(views, batch, present)

    def prototypes(self, like: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the prototypes, of length 1, (C, D), of the type of `like`, and which families have one; None: all."""
        if self.queue is None:
            assert self.weight is not None
            return F.normalize(self.weight, dim=1), None
        rows = torch.where(self.queue.filled(), self.queue.family, len(self.clan))  # empty slots: a class of their own
        sums = like.new_zeros(len(self.clan) + 1, self.dimension).index_add(0, rows, self.queue.vectors.to(like.dtype))
        count = torch.zeros_like(sums[:, 0]).index_add(0, rows, torch.ones_like(rows, dtype=like.dtype))
        return F.normalize(sums[:-1], dim=1), count[:-1] > 0

    @torch.no_grad()
    def after_step(self) -> None:
        """Add the vectors of the step to the queue."""
        if self.queue is not None:
            self.queue.flush()
