"""Classification of families by a softmax, from which families of the same clan are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import mean


class FamilyClassifier(nn.Module):
    """Base of objectives whose classes are the C families of the training data.

    Before the first step, `set_classes` is called, because `requirements.classes` is set. Families of the clan of a pair's
    own family are homologous to it: they are not wrong answers, and are left out of its softmax.

    Args:
        dimension: features D of a vector.
        learned: whether each class has a weight vector, `weight` (C, D).
        bias: whether each class has a bias, too, `bias` (C,).
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    clan: Tensor

    def __init__(self, dimension: int, *, learned: bool, bias: bool) -> None:
        super().__init__()
        self.dimension = dimension
        self.register_parameter("weight", nn.Parameter(torch.empty(0, dimension)) if learned else None)
        self.register_parameter("bias", nn.Parameter(torch.empty(0)) if bias else None)
        self.register_buffer("clan", torch.empty(0, dtype=torch.int64), persistent=False)

    def set_classes(self, clan: Tensor) -> None:
        """Set the number of classes, and their clans, by code: (C,) int64, negative for families without a clan.

        Weights are initialised as those of a linear layer, from torch's random state, unless there are C of them already.
        """
        self._resize(len(clan))
        self.clan = clan.to(self.clan.device)

    def _resize(self, classes: int) -> None:
        if self.weight is not None and len(self.weight) != classes:
            border = 1 / math.sqrt(self.dimension)
            values = torch.empty(classes, self.dimension).uniform_(-border, border)
            self.weight = nn.Parameter(values.to(self.weight))
        if self.bias is not None and len(self.bias) != classes:
            self.bias = nn.Parameter(self.bias.new_zeros(classes))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "weight" in state_dict:
            self._resize(len(state_dict[prefix + "weight"]))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def classified(self, views: Sequence[Tensor], batch: Batch, present: Tensor | None = None) -> dict[str, Tensor]:
        """Return `loss`, the mean cross-entropy in nats, and `accuracy`, the fraction of views of the right class.

        Args:
            views: logits of each view of N pairs, (N, C).
            batch: the pairs; `family` is the class.
            present: classes that can be answered, (C,) bool; pairs of others do not count. None: all.
        """
        own = batch.family[:, None] == torch.arange(len(self.clan), device=batch.family.device)
        answers = own | (self.clan[None] != batch.clan[:, None]) | (batch.clan < 0)[:, None]
        counted = torch.ones_like(batch.family, dtype=torch.bool)
        if present is not None:
            answers, counted = answers & present, present[batch.family]
        losses, right = [], []
        for logits in views:
            masked = logits.masked_fill(~answers, torch.finfo(logits.dtype).min)
            losses.append(mean(F.cross_entropy(masked, batch.family, reduction="none"), counted))
            right.append(mean((masked.argmax(1) == batch.family).to(logits.dtype), counted))
        return {"loss": torch.stack(losses).mean(), "accuracy": torch.stack(right).mean().detach()}
