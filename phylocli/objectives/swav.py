"""SwAV: predict the cluster of one view from another; clusters are balanced, so no negatives are needed (Caron 2020).

    loss = mean over large views s of  mean over other views t of  -Σₖ q_s^(k) log p_t^(k)
    p_t = softmax(zₜᵀ C / τ),   Q = argmax over the transportation polytope of Tr(Qᵀ Cᵀ Z) + ε H(Q)

z and the K prototypes C have length 1. The first two views are large; their codes q are computed by Sinkhorn–Knopp from
scores without gradient, and predicted from all views, including the small ones. Caron et al. 2020, arXiv 2006.09882,
equations 2 to 6: τ = 0.1, ε = 0.05, three iterations. Prototypes are normalised after each step, and are fixed in the first
`freeze` steps. With a queue, features of earlier steps are included when computing codes, which small batches need.

There are no negatives to mask, but balancing the codes can push homologs apart. Therefore homologs share the weight of one
sample: with `homolog_weight`, each family or clan in the batch (and queue) has the same weight regardless of its number of
members, and if there are no more prototypes than these, no family has to be split for balance.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import homolog_weights
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.base.requirements import Requirements
from phylocli.objectives.base.sinkhorn import sinkhorn


class Objective(nn.Module):
    """Swapped prediction of balanced codes.

    Args:
        critic: not used; replaced by prototypes.
        dimension: features of a view's vector.
        prototypes: K.
        temperature: τ.
        epsilon: ε.
        iterations: of Sinkhorn–Knopp.
        freeze: number of initial steps in which the prototypes are fixed.
        queue: features of each large view that are kept for computing codes; 0: none.
        homolog_weight: see above; False: all samples have the same weight, as in the paper.
    """

    prototypes: nn.Parameter
    steps: Tensor

    def __init__(
        self,
        critic: nn.Module,
        *,
        dimension: int,
        prototypes: int = 64,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        freeze: int = 30,
        queue: int = 0,
        homolog_weight: bool = True,
    ) -> None:
        super().__init__()
        if min(prototypes, iterations) < 1 or min(temperature, epsilon) <= 0 or queue < 0:
            raise UsageError("SwAV needs prototypes and iterations from 1, and temperature and epsilon above 0")
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, dimension), dim=1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.temperature, self.epsilon, self.iterations, self.freeze = temperature, epsilon, iterations, freeze
        self.homolog_weight = homolog_weight
        self.queues = nn.ModuleList(MemoryBank(queue, dimension) for _ in range(2 if queue else 0))
        self.requirements = Requirements(views="all")

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and `code_entropy` (nats, of the prototypes that codes use on average; at most log K).

        a and b are the large views (N, D); `batch.more` may hold small ones.
        """
        views = [F.normalize(z, dim=1) for z in (a, b, *batch.more)]
        frozen = (self.steps < self.freeze).to(a.dtype)
        centres = self.prototypes.detach() * frozen + self.prototypes * (1 - frozen)
        scores = [z @ centres.T for z in views]
        codes = [self._codes(side, views[side], scores[side], batch) for side in (0, 1)]
        logs = [F.log_softmax(s / self.temperature, dim=1) for s in scores]
        terms = [-(code * logs[t]).sum(1).mean() for s, code in enumerate(codes) for t in range(len(views)) if t != s]
        used = torch.special.entr(torch.cat(codes).mean(0)).sum()
        return {"loss": torch.stack(terms).mean(), "code_entropy": used}

    @torch.no_grad()
    def _codes(self, side: int, z: Tensor, scores: Tensor, batch: Batch) -> Tensor:
        """Return the codes of a large view, (N, K)."""
        family, clan = batch.family, batch.clan
        there = torch.ones_like(family, dtype=torch.bool)
        if len(self.queues):
            queue = self._queues()[side]
            scores = torch.cat([scores, queue.vectors.to(scores.dtype) @ self.prototypes.T])
            family, clan = torch.cat([family, queue.family]), torch.cat([clan, queue.clan])
            there = torch.cat([there, queue.filled()])
            if self.training:
                queue.add(z, batch)
        weights = there / there.sum()
        if self.homolog_weight:
            weights = homolog_weights(family, clan) * there
            weights = weights / weights.sum()
        return sinkhorn(scores, self.epsilon, self.iterations, weights)[: len(z)]

    def _queues(self) -> list[MemoryBank]:
        return [queue for queue in self.queues if isinstance(queue, MemoryBank)]

    @torch.no_grad()
    def after_step(self) -> None:
        """Normalise the prototypes and add the features of the step to the queues."""
        self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
        self.steps += 1
        for queue in self._queues():
            queue.flush()
