"""Wasserstein dependency: true pairs above negatives for a critic of bounded slope (Ozair 2019).

    W(a; b) = W₁( p(a, b), p(a) p(b) ) = sup over 1-Lipschitz s of  E_pairs[ s ] - E_negatives[ s ]

Ozair et al. 2019, arXiv 1903.11780, equations 6 and 8: the Kullback–Leibler divergence of the mutual information is
replaced by the earth mover's distance, in the units of the vectors, so that a large dependency needs no exponentially
many samples. The slope is limited in one of two ways. `constraint=penalty` (Gulrajani et al. 2017, arXiv 1704.00028,
one-sided) adds λ E[ (‖∇s‖ - 1)₊² ] at points between true pairs and negatives, whose gradient reaches the critic only.
`constraint=spectral` divides the weights of every linear layer of the critic by their largest singular value (Miyato et
al. 2018, arXiv 1802.05957), and the scores by the largest slope that such a perceptron can have, so that none exceeds 1:
the dependency is usually too low, because the product of the norms is more than the slope.
`form=infonce` is Wasserstein predictive coding: InfoNCE on the same critic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from phylocli.core.errors import UsageError, unknown_name
from phylocli.critics import concatenated
from phylocli.objectives import infonce
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import at_most, mean, positives

FORMS = ("difference", "infonce")
CONSTRAINTS = ("penalty", "spectral")
STEEPEST = math.sqrt(2) * 1.129**2
"""Largest slope of `concatenated` with spectral norms of 1: two first layers side by side, and two GELUs."""
_GOLDEN = 0.6180339887498949


def limited(critic: nn.Module) -> list[nn.Linear]:
    """Give every linear layer of a perceptron on both vectors a spectral norm of 1, in place, and return the layers.

    Raises:
        UsageError: the critic is not such a perceptron, so that the slopes of its layers do not limit its own.
    """
    if not isinstance(critic, concatenated.Critic):
        raise UsageError(
            "spectral norms limit the slope of a critic that is a perceptron on both vectors",
            why="the slope of a product of two vectors grows with the vectors",
            fix="set critic.name=concatenated, or objective.constraint=penalty",
        )
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        spectral_norm(layer)
    return layers


class Objective(nn.Module):
    """Wasserstein dependency on the scores of a critic with a nearly Lipschitz gradient.

    Args:
        critic: scores (N, N); a function of each pair alone. With spectral norms, a perceptron on both vectors
            (`concatenated`); its linear layers are changed in place.
        penalty: λ, of the constraint `penalty`.
        form: `difference`, the dependency itself, or `infonce`, Wasserstein predictive coding.
        constraint: `penalty`, or `spectral`.
    """

    def __init__(
        self, critic: nn.Module, *, penalty: float = 10.0, form: str = "difference", constraint: str = "penalty"
    ) -> None:
        super().__init__()
        if not penalty > 0:
            raise UsageError(f"the penalty must be above 0, not {penalty:g}", why="without it the scores grow without limit")
        if form not in FORMS:
            raise unknown_name("unknown form of the Wasserstein objective", form, FORMS)
        if constraint not in CONSTRAINTS:
            raise unknown_name("unknown constraint of the Wasserstein objective", constraint, CONSTRAINTS)
        self.critic, self.form = critic, form
        self.limited = limited(critic) if constraint == "spectral" else []
        self.penalty = 0.0 if self.limited else penalty

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `dependency` (units of the vectors) and `slope` (mean gradient norm), from a and b (N, D)."""
        self._estimate_norms()
        scores, negatives = self._scores(a, b), batch.negatives()
        dependency = positives(scores).mean() - mean(scores, negatives)
        value = dependency if self.form == "difference" else infonce.bound(scores, negatives)
        slope = self._slopes(a.detach(), b.detach(), negatives)
        loss = -value + self.penalty * (slope - 1).clamp(min=0).square().mean()
        return {"loss": loss, "dependency": dependency.detach(), "slope": slope.detach().mean()}

    def _scores(self, a: Tensor, b: Tensor) -> Tensor:
        scores: Tensor = self.critic(a, b)
        return scores / STEEPEST if self.limited else scores

    @torch.no_grad()
    def _estimate_norms(self) -> None:
        """Improve the estimates of the largest singular values by a step of power iteration; they are then constants."""
        for layer in self.limited:
            norms = layer.parametrizations
            assert isinstance(norms, nn.ModuleDict)
            norms.train(self.training)
            _ = layer.weight
            norms.eval()  # the critic recomputes layers in the backward pass, where they must not change

    def _slopes(self, a: Tensor, b: Tensor, negatives: Tensor) -> Tensor:
        """Return the norm of the critic's gradient between each pair (a_i, b_i) and a negative (a_i, b_j), (N,)."""
        other = at_most(negatives, 1).to(b.dtype)
        partner = torch.where(negatives.any(1)[:, None], other @ b, b)
        # Fractions that fill 0 … 1 evenly, the same in every process that shares the batch.
        fraction = (torch.arange(1, len(a) + 1, device=b.device, dtype=b.dtype) * _GOLDEN).frac()[:, None]
        between = fraction * b + (1 - fraction) * partner
        with torch.enable_grad():
            points = (a.requires_grad_(), between.detach().requires_grad_())
            own = positives(self._scores(*points)).sum()
            found = torch.autograd.grad(own, points, create_graph=self.penalty > 0, allow_unused=True)
        squared = torch.stack([part.square().sum(1) for part in found if part is not None]).sum(0)
        return (squared + 1e-12).sqrt()
