"""Contrastive representation distillation: identify the teacher's vector among those of others (Tian 2020).

    h(a, b) = exp s(a, b) / ( exp s(a, b) + N z )
    loss    = - E_pairs[ log h ] - N E_negatives[ log(1 - h) ],      I(a; b) ≥ log N - loss

with the student's vector a and the teacher's vector b, each after a linear map, s the cosine over a temperature, and N
negatives per pair. Tian, Krishnan & Isola 2020, arXiv 1910.10699, section 3.1. The bound holds for every h: the loss is
least for the best h, and its second term is not negative (and at most 1 nat for the best h). There z = 1/M, with M the
number of training samples (`cardinality`). Their code replaces M by a constant Z, the mean of exp s over the first
negatives, after Wu et al. 2018 (arXiv 1805.01978), so that s need not be normalised; M then cancels. That is the default
here. The loss is the mean over both anchors: the student's vector against the teacher's of others, and vice versa, as in
their code.

Negatives are the other sequences of the batch, and the vectors of earlier steps in a buffer. The authors keep one vector of
every training sample, and sample from them; the buffer here is a queue of the last ones, whose order is random by the
sampler, so that its size does not depend on the data. As in their sampling by class, homologs are not negatives; the bound
is that of a world in which negatives are unrelated.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logmeanexp, positives
from phylocli.objectives.base.memory_bank import MemoryBank


class Objective(nn.Module):
    """Contrastive representation distillation on a critic's scores (in the paper: `cosine`, temperature 0.07).

    Args:
        critic: scores (N, M).
        dimension: features of a and b.
        buffer: vectors of earlier steps that are negatives, of each side; 0: those of the batch only.
        cardinality: M, the number of training samples; 0: the constant Z.
        symmetric: the mean over both anchors; False: the student's vectors against the teacher's only.
    """

    log_z: Tensor

    def __init__(
        self, critic: nn.Module, *, dimension: int, buffer: int = 4096, cardinality: int = 0, symmetric: bool = True
    ) -> None:
        super().__init__()
        if buffer < 0 or cardinality < 0:
            raise UsageError(
                f"CRD cannot have a buffer of {buffer} and a cardinality of {cardinality}", fix="give 0 or more"
            )
        self.critic, self.cardinality, self.symmetric = critic, cardinality, symmetric
        self.of_a, self.of_b = MemoryBank(buffer, dimension), MemoryBank(buffer, dimension)
        self.register_buffer("log_z", torch.full((2,), torch.nan))

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and its `ceiling` log N, from a and b (N, D)."""
        found = [self._anchored(0, self.critic(a, torch.cat([b, self.of_b.vectors.to(b.dtype)])), self.of_b, batch)]
        if self.symmetric:
            scores = self.critic(torch.cat([a, self.of_a.vectors.to(a.dtype)]), b).T
            found.append(self._anchored(1, scores, self.of_a, batch))
        if self.training:
            self.of_a.add(a, batch)
            self.of_b.add(b, batch)
        loss, ceiling = (torch.stack(parts).mean() for parts in zip(*found, strict=True))
        return {"loss": loss, "bound": (ceiling - loss).detach(), "ceiling": ceiling}

    def _anchored(self, side: int, scores: Tensor, bank: MemoryBank, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the loss and log N, of scores (N, N + buffer) with true pairs on the diagonal of the first N columns."""
        n = len(scores)
        negatives = torch.cat([batch.negatives(), bank.negatives(batch)], dim=1)
        log_n = negatives.sum(1).clamp(min=1).to(scores.dtype).log()
        logits = scores - (log_n + self._log_normaliser(side, scores, negatives))[:, None]
        against = F.softplus(logits.masked_fill(~negatives, 0)).masked_fill(~negatives, 0).sum(1)
        return (F.softplus(-positives(logits[:, :n])) + against).mean(), log_n.mean()

    def _log_normaliser(self, side: int, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return log z."""
        if self.cardinality:
            return scores.new_tensor(-math.log(self.cardinality))
        first = logmeanexp(scores.detach(), negatives)
        known = torch.where(self.log_z[side].isnan(), first, self.log_z[side].to(first.dtype))
        if self.training:
            self.log_z[side] = torch.where(negatives.any(), known, self.log_z[side].to(first.dtype))
        return known

    def after_step(self) -> None:
        """Add the vectors of the step to the buffers."""
        self.of_a.flush()
        self.of_b.flush()
