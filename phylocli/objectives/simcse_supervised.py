"""Supervised SimCSE: identify the homolog among the others of the batch and a hard negative for each of them (Gao 2021).

    loss = mean over i of  -log  exp s(aᵢ, bᵢ) / Σⱼ ( exp s(aᵢ, bⱼ) + w^[i = j] exp s(aᵢ, hⱼ) )

with j over i itself and, for b, the unrelated ones. Gao, Yao & Chen 2021, arXiv 2104.08821, equation 5, with the weight of
the pair's own hard negative from their appendix (w = 1 is equation 5). In the paper, pairs and contradictions come from
natural-language inference; here pairs are homologs, and the hard negative h is a decoy of b (view `decoy`): it has the
composition of b and no homologs, so every decoy is a negative of every sequence. s is the cosine over 0.05.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logsumexp, positives
from phylocli.objectives.base.requirements import Requirements


class Objective(nn.Module):
    """Contrastive loss with hard negatives, on a critic's scores (in the paper: `cosine`).

    Args:
        critic: scores (N, N).
        weight: w, of the pair's own hard negative.
    """

    def __init__(self, critic: nn.Module, *, weight: float = 1.0) -> None:
        super().__init__()
        if not weight > 0:
            raise UsageError(f"the weight of hard negatives must be above 0, not {weight}")
        self.critic = critic
        self.log_weight = math.log(weight)
        self.requirements = Requirements(views="all", negatives=False)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and its `ceiling`, from a, b and the decoys `batch.more` (each (N, D)).

        Raises:
            UsageError: the view has no third sequence.
        """
        decoys = batch.more
        if not decoys:
            raise UsageError(
                "supervised SimCSE needs hard negatives, which this view does not make",
                fix="add a view that makes them, for example --set view.name=phylogenetic+crop+decoy",
            )
        itself = torch.eye(len(a), dtype=torch.bool, device=a.device)
        scores, allowed = [self.critic(a, b)], [batch.negatives() | itself]
        for hard in decoys:
            scores.append(self.critic(a, hard) + self.log_weight * itself.to(a.dtype))
            allowed.append(torch.ones_like(itself))
        candidates = torch.cat(allowed, dim=1)
        log_probability = positives(scores[0]) - logsumexp(torch.cat(scores, dim=1), candidates, dim=1)
        ceiling = candidates.sum(1).to(a.dtype).log()
        return {
            "loss": -log_probability.mean(),
            "bound": (log_probability + ceiling).mean().detach(),
            "ceiling": ceiling.mean(),
        }
