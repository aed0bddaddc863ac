"""SMILE: Donsker–Varadhan with clipped density ratios, trained by Jensen–Shannon (Song & Ermon 2020).

    value:  E_pairs[ s ] - log E_negatives[ clip(exp s, e^-τ, e^τ) ]

Song & Ermon 2020, arXiv 1910.06222, equation 18. Clipping bounds the variance by e^τ and adds some bias. The critic is
trained with the Jensen–Shannon objective, as in the paper; the reported value is the clipped one.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives import jsd
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor, *, clip: float = 5.0) -> Tensor:
    """Return the estimate in nats, a scalar, from scores (N, N) and the mask of negatives (N, N); not a strict bound."""
    return positives(scores).mean() - logmeanexp(scores.clamp(-clip, clip), negatives)


class Objective(Estimator):
    """SMILE on a critic's scores: `loss` (Jensen–Shannon's) and `bound` (nats).

    Args:
        critic: scores (N, N).
        clip: τ; infinity gives Donsker–Varadhan's value.
    """

    side = "neither"

    def __init__(self, critic: nn.Module, *, clip: float = 5.0) -> None:
        super().__init__(critic)
        if not clip > 0:
            raise UsageError(f"SMILE's clip must be above 0, not {clip}")
        self.clip = clip

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the estimate in nats."""
        return bound(scores, negatives, clip=self.clip)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss` and `bound`."""
        return {"loss": jsd.loss(scores, negatives), "bound": self.bound(scores, negatives).detach()}
