"""Supervised contrast: all members of a family in the batch attract each other (Khosla 2020).

    loss = mean over views i of  -1/|P(i)| Σ_{p in P(i)} log  exp s(zᵢ, z_p) / Σ_{k in P(i) or negatives of i} exp s(zᵢ,
    z_k)

with z = [a; b] and P(i) the other views of i's family. Families of the same clan are neither positive nor negative.
Khosla et al. 2020, arXiv 2004.11362, their L_out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logsumexp


class Objective(nn.Module):
    """Supervised contrast on a critic's scores (in the paper: `cosine`)."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, from a and b (N, D)."""
        z, both = torch.cat([a, b]), batch.twice()
        scores = self.critic(z, z)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        homologs = (both.family[:, None] == both.family[None]) & ~itself
        log_probability = scores - logsumexp(scores, homologs | both.negatives(), dim=1)[:, None]
        return {"loss": -(log_probability.masked_fill(~homologs, 0).sum(1) / homologs.sum(1)).mean()}
