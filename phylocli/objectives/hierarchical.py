"""Graded contrast: a partner above its clan, the clan above unrelated sequences (after Zhang 2022).

    near = mean over views i of  -log  exp s(zᵢ, z_p(i)) / ( exp s(zᵢ, z_p(i)) + Σ_{k in C(i) or U(i)} exp s(zᵢ, z_k) )
    far = mean over views i and q in C(i) of  -log  exp s(zᵢ, z_q) / ( exp s(zᵢ, z_q) + Σ_{k in U(i)} exp s(zᵢ, z_k) )
    loss = near + weight · far

with z = [a; b], p(i) the other view of the pair, C(i) the views of other families of i's clan, and U(i) unrelated views. If
families are CATH superfamilies and clans are topologies, superfamily ranks above topology, topology above the rest. Here,
unlike in other objectives, families of a clan are contrasted with each other, so none may repeat another. Zhang, Xu, Xiong
& Ramaiah 2022, arXiv 2204.13207, equation 3, with two levels and one positive on the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import contrast, logsumexp


class Objective(nn.Module):
    """Graded contrast on a critic's scores.

    Args:
        critic: scores (N, N).
        weight: of the contrast of a clan with unrelated sequences.

    Raises:
        UsageError: a negative weight.
    """

    def __init__(self, critic: nn.Module, *, weight: float = 0.5) -> None:
        super().__init__()
        if weight < 0:
            raise UsageError(f"hierarchical cannot use the weight {weight:g}", fix="give a weight of at least 0")
        self.critic, self.weight = critic, weight

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, its parts `near` and `far`, and `bound` (of the near part, in nats) and its `ceiling`."""
        z, both, n = torch.cat([a, b]), batch.twice(), len(a)
        scores = self.critic(z, z)
        unrelated = both.negatives()
        clan = ~unrelated & (both.family[:, None] != both.family[None])
        # Columns are rolled by N, so that the partner of view i is on the diagonal.
        log_probability, ceiling = contrast(scores.roll(n, dims=1), (unrelated | clan).roll(n, dims=1))
        near = -log_probability.mean()
        against = logsumexp(scores, unrelated, dim=1)[:, None]
        each = (torch.logaddexp(scores, against.expand_as(scores)) - scores).masked_fill(~clan, 0)
        far = (each.sum(1) / clan.sum(1).clamp(min=1)).sum() / clan.any(1).sum().clamp(min=1)
        bound = (log_probability + ceiling).mean()
        terms = {"near": near.detach(), "far": far.detach(), "bound": bound.detach(), "ceiling": ceiling.mean()}
        return {"loss": near + self.weight * far, **terms}
