"""MoCo: find the partner's key among a queue of keys of earlier steps, from a momentum encoder (He 2020).

    loss = mean over i of  -log  exp s(qᵢ, kᵢ) / ( exp s(qᵢ, kᵢ) + Σ_{k in queue, unrelated to i} exp s(qᵢ, k) )

with qᵢ = aᵢ from the encoder and kᵢ = bᵢ from the momentum encoder, θ_k ← m θ_k + (1 - m) θ_q after each step. The keys of
the batch enter the queue after the step, so other keys of the same batch are not negatives. He et al. 2020, arXiv
1911.05722, equations 1 and 2 and algorithm 1; s is the cosine over a temperature of 0.07. MoCo v2 (Chen, Fan, Girshick & He
2020, arXiv 2003.04297) is the same loss with a perceptron as head, a temperature of 0.2 and stronger views; v1's head is one
linear layer, replaced here by the last layer of the encoder.

Keys carry family and clan codes, so homologs in the queue are not negatives either. Empty slots of the queue are ignored,
whereas the authors fill them with random vectors: the first steps have fewer negatives instead of meaningless ones. The
authors shuffle samples among devices because batch normalisation could reveal a key; no encoder here normalises over a batch
(all use layer normalisation), so nothing is shuffled.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logsumexp, positives
from phylocli.objectives.base.memory_bank import MemoryBank
from phylocli.objectives.base.requirements import Requirements


class Objective(nn.Module):
    """Contrastive loss with a queue, on a critic's scores (in the paper: `cosine`).

    Args:
        critic: scores (N, M).
        dimension: features of a and b.
        queue: number of keys.
        momentum: m.
    """

    def __init__(self, critic: nn.Module, *, dimension: int, queue: int = 4096, momentum: float = 0.999) -> None:
        super().__init__()
        if queue < 1 or not 0 <= momentum < 1:
            raise UsageError(f"MoCo cannot have a queue of {queue} and a momentum of {momentum}", fix="0 ≤ momentum < 1")
        self.critic = critic
        self.queue = MemoryBank(queue, dimension)
        self.requirements = Requirements(momentum=momentum, negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (InfoNCE in nats) and its `ceiling`, from a and b (N, D); b takes no gradient."""
        own = positives(self.critic(a, b.detach()))
        others = self.critic(a, self.queue.vectors.to(a.dtype))
        negatives = self.queue.negatives(batch)
        scores = torch.cat([own[:, None], others], dim=1)
        candidates = torch.cat([torch.ones_like(negatives[:, :1]), negatives], dim=1)
        log_probability = own - logsumexp(scores, candidates, dim=1)
        ceiling = candidates.sum(1).to(a.dtype).log()
        if self.training:
            self.queue.add(b, batch)
        return {
            "loss": -log_probability.mean(),
            "bound": (log_probability + ceiling).mean().detach(),
            "ceiling": ceiling.mean(),
        }

    def after_step(self) -> None:
        """Add the keys of the step to the queue."""
        self.queue.flush()
