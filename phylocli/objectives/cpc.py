"""Contrastive predictive coding: predict from the first segments of a sequence which one follows (van den Oord 2018).

    z_t = encoder(segment t),   c_t = GRU(z_1 … z_t),   f_k(x_{t+k}, c_t) = exp( z_{t+k}ᵀ W_k c_t ),   k = 1 … steps
    loss = mean over sequences, t and k of  -log  f_k(x_{t+k}, c_t) / Σⱼ f_k(xⱼ, c_t)

with j over the true segment and all segments of unrelated sequences of the batch (`within`: also of the sequence itself).
van den Oord, Li & Vinyals 2018, arXiv 1807.03748, equations 3 and 4. Each segment is encoded separately, so the encoder
never sees what it must predict. The recurrent unit and the W_k are discarded after training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.predictive_coding import PredictiveCoding, Score


class Objective(PredictiveCoding):
    """Contrastive predictive coding.

    Args:
        critic: not used; replaced by the W_k.
        features: of a segment.
        context: features of c_t.
        steps: largest k.
        segment: residues per segment; a shorter rest at the end of a sequence is ignored.
        within: other segments of the sequence itself are negatives.
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        features: int,
        context: int = 128,
        steps: int = 4,
        segment: int = 16,
        within: bool = False,
    ) -> None:
        super().__init__(
            features=features, context=context, steps=steps, segment=segment, first=1, everywhere=True, within=within
        )
        self.predict = nn.ModuleList(nn.Linear(context, features, bias=False) for _ in range(steps))

    def score(self, k: int) -> Score:
        """Return f_k's logarithm: contexts (P, C), segments (M, F) → (P, M)."""

        def bilinear(contexts: Tensor, segments: Tensor) -> Tensor:
            return torch.matmul(self.predict[k - 1](contexts), segments.T)

        return bilinear
