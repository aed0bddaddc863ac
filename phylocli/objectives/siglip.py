"""Sigmoid loss: a binary classification of every pair of the batch (SigLIP, Zhai 2023).

    loss = -1/N Σ_{i, j} log σ( y_ij (s(aᵢ, bⱼ) + β) ),   y = 1 for true pairs, -1 for negatives, β learned

Zhai et al. 2023, arXiv 2303.15343; use it with a cosine critic with learned temperature, initially 0.1. With N pairs, one in
N is positive, so β should start near -log N (in the paper: -10 for batches of 32,768).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import positives


class Objective(nn.Module):
    """Sigmoid loss on a critic's scores.

    Args:
        critic: scores (N, N).
        bias: initial value of β.
    """

    def __init__(self, critic: nn.Module, *, bias: float = -math.log(128)) -> None:
        super().__init__()
        self.critic = critic
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, from a and b (N, D)."""
        logits = self.critic(a, b) + self.bias
        yes = F.softplus(-positives(logits)).sum()
        no = F.softplus(logits).masked_fill(~batch.negatives(), 0).sum()
        return {"loss": (yes + no) / len(a)}
