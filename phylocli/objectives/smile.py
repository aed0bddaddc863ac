"""SMILE: Donsker–Varadhan with clipped density ratios, trained by Jensen–Shannon (Song & Ermon 2020).

    value:  E_pairs[ s ] - log E_negatives[ clip(exp s, e^-τ, e^τ) ]

Song & Ermon 2020, arXiv 1910.06222, equation 18. Clipping bounds the variance by e^τ and adds some bias, mostly upwards: the
negatives whose density ratio exceeds e^τ are undercounted. The reported value is this one.

The value itself cannot be trained by: beyond the clip, a constant added to all scores raises it without limit. As in the
paper, the critic is trained by the Jensen–Shannon objective; or, with `loss=clipped`, by Donsker–Varadhan's value of the
clipped critic, E_pairs[ clip s ] - log E_negatives[ exp clip s ]. That is at most 2 τ, too low for pairs whose log density
ratio exceeds τ, and in small batches too high as `dv`.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError, unknown_name
from phylocli.objectives import dv, jsd
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import logmeanexp, positives


def bound(scores: Tensor, negatives: Tensor, *, clip: float = 5.0) -> Tensor:
    """Return the estimate in nats, a scalar, from scores (N, N) and the mask of negatives (N, N); not a strict bound."""
    return positives(scores).mean() - logmeanexp(scores.clamp(-clip, clip), negatives)


LOSSES = ("jensen-shannon", "clipped")


class Objective(Estimator):
    """SMILE on a critic's scores: `loss` and `bound` (nats).

    Args:
        critic: scores (N, N).
        clip: τ; infinity gives Donsker–Varadhan's value.
        loss: what trains the critic: `jensen-shannon`, or `clipped`, Donsker–Varadhan's value of the clipped scores.
    """

    side = "neither"

    def __init__(self, critic: nn.Module, *, clip: float = 5.0, loss: str = "jensen-shannon") -> None:
        super().__init__(critic)
        if not clip > 0:
            raise UsageError(f"SMILE's clip must be above 0, not {clip}")
        if loss not in LOSSES:
            raise unknown_name("unknown loss of SMILE", loss, LOSSES)
        self.clip, self.clipped = clip, loss == "clipped"

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the estimate in nats."""
        return bound(scores, negatives, clip=self.clip)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss` and `bound`."""
        if self.clipped:
            loss = -dv.bound(scores.clamp(-self.clip, self.clip), negatives)
        else:
            loss = jsd.loss(scores, negatives)
        return {"loss": loss, "bound": self.bound(scores, negatives).detach()}
