"""Wasserstein dependency: true pairs above negatives for a critic of bounded slope (Ozair 2019).

    W(a; b) = W₁( p(a, b), p(a) p(b) ) = sup over 1-Lipschitz s of  E_pairs[ s ] - E_negatives[ s ]

Ozair et al. 2019, arXiv 1903.11780, equations 6 and 8: the Kullback–Leibler divergence of the mutual information is
replaced by the earth mover's distance, in the units of the vectors, so that a large dependency needs no exponentially
many samples. The slope is limited by a penalty (Gulrajani et al. 2017, arXiv 1704.00028, one-sided): λ E[ (‖∇s‖ - 1)₊² ]
at points between true pairs and negatives, whose gradient reaches the critic only. `form=infonce` is their Wasserstein
predictive coding: InfoNCE on the same critic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError, unknown_name
from phylocli.objectives import infonce
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import at_most, mean, positives

FORMS = ("difference", "infonce")
_GOLDEN = 0.6180339887498949


class Objective(nn.Module):
    """Wasserstein dependency on the scores of a critic with a nearly Lipschitz gradient.

    Args:
        critic: scores (N, N); a function of each pair alone.
        penalty: λ.
        form: `difference`, the dependency itself, or `infonce`, Wasserstein predictive coding.
    """

    def __init__(self, critic: nn.Module, *, penalty: float = 10.0, form: str = "difference") -> None:
        super().__init__()
        if not penalty > 0:
            raise UsageError(f"the penalty must be above 0, not {penalty:g}", why="without it the scores grow without limit")
        if form not in FORMS:
            raise unknown_name("unknown form of the Wasserstein objective", form, FORMS)
        self.critic, self.penalty, self.form = critic, penalty, form

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `dependency` (units of the vectors) and `slope` (mean gradient norm), from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        dependency = positives(scores).mean() - mean(scores, negatives)
        value = dependency if self.form == "difference" else infonce.bound(scores, negatives)
        slope = self._slopes(a.detach(), b.detach(), negatives)
        loss = -value + self.penalty * (slope - 1).clamp(min=0).square().mean()
        return {"loss": loss, "dependency": dependency.detach(), "slope": slope.detach().mean()}

    def _slopes(self, a: Tensor, b: Tensor, negatives: Tensor) -> Tensor:
        """Return the norm of the critic's gradient between each pair (a_i, b_i) and a negative (a_i, b_j), (N,)."""
        other = at_most(negatives, 1).to(b.dtype)
        partner = torch.where(negatives.any(1)[:, None], other @ b, b)
        # Fractions that fill 0 … 1 evenly, the same in every process that shares the batch.
        fraction = (torch.arange(1, len(a) + 1, device=b.device, dtype=b.dtype) * _GOLDEN).frac()[:, None]
        between = fraction * b + (1 - fraction) * partner
        with torch.enable_grad():
            points = (a.requires_grad_(), between.detach().requires_grad_())
            own = positives(self.critic(*points)).sum()
            found = torch.autograd.grad(own, points, create_graph=True, allow_unused=True)
        squared = torch.stack([part.square().sum(1) for part in found if part is not None]).sum(0)
        return (squared + 1e-12).sqrt()
