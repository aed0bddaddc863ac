"""MINE: Donsker–Varadhan with the gradient's bias corrected by a moving average (Belghazi 2018).

    value:     E_pairs[ s ] - log E_negatives[ exp s ]
    gradient:  E_pairs[ ∇s ] - E_negatives[ exp(s) ∇s ] / η,    η ← decay · η + (1 - decay) · E_negatives[ exp s ]

Belghazi et al. 2018, arXiv 1801.04062, section 3.2. η is stored as a logarithm, is part of the checkpoint, and is
initialised with the value of the first batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logmeanexp, positives
from phylocli.objectives.dv import bound


class Objective(Estimator):
    """MINE on a critic's scores: `loss` and `bound` (nats).

    Args:
        critic: scores (N, N).
        decay: of the moving average η; 0 gives plain Donsker–Varadhan.
    """

    side = "neither"  # as Donsker–Varadhan
    log_average: Tensor

    def __init__(self, critic: nn.Module, *, decay: float = 0.99) -> None:
        super().__init__(critic)
        if not 0 <= decay < 1:
            raise UsageError(f"MINE's decay must be between 0 and 1, not {decay}")
        self.decay = decay
        self.register_buffer("log_average", torch.tensor(float("nan")))

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return Donsker–Varadhan's value in nats."""
        return bound(scores, negatives)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss`, which has the value of Donsker–Varadhan's loss and a corrected gradient, and `bound`."""
        value = self.bound(scores, negatives)
        now = logmeanexp(scores, negatives)
        self._update(now.detach())
        # The value of this term cancels; its gradient is E[exp(s) ∇s] / η.
        average = self.log_average.to(now.dtype)
        marginal = (now - torch.where(average.isnan(), now.detach(), average)).exp()  # NaN: evaluated before any training
        surrogate = positives(scores).mean() - marginal
        loss = -(surrogate + (value - surrogate).detach())
        return {"loss": loss, "bound": value.detach()}

    @torch.no_grad()
    def _update(self, now: Tensor) -> None:
        if not self.training:
            return
        now = now.to(self.log_average.dtype)
        if self.decay > 0:
            mixed = torch.logaddexp(self.log_average + math.log(self.decay), now + math.log1p(-self.decay))
            now = torch.where(self.log_average.isnan(), now, mixed)
        self.log_average.copy_(now)
