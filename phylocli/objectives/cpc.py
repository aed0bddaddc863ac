"""Contrastive predictive coding: from the first segments of a sequence, tell which segment follows (van den Oord 2018).

    z_t = encoder(segment t),   c_t = GRU(z_1 … z_t),   f_k(x_{t+k}, c_t) = exp( z_{t+k}ᵀ W_k c_t ),   k = 1 … steps
    loss = mean over sequences, t and k of  -log  f_k(x_{t+k}, c_t) / Σⱼ f_k(xⱼ, c_t)

with j over the true segment and all segments of the batch's other sequences that are unrelated (`within`: of the sequence
itself too). van den Oord, Li & Vinyals 2018, arXiv 1807.03748, equations 3 and 4. Each segment is encoded by itself, so
that no encoder sees what it shall predict. The recurrent unit and the W_k are thrown away after training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.objectives.base.predictive_coding import PredictiveCoding, Score


class Objective(PredictiveCoding):
    """Contrastive predictive coding.

    Args:
        critic: not used; the W_k take its place.
        features: of a segment.
        context: features of c_t.
        steps: largest k.
        segment: residues of a segment; what is left at the end of a sequence is not used.
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
