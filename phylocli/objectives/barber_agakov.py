"""Barber–Agakov: how much better a decoder guesses b when it sees a (Barber & Agakov 2003).

    I(a; b) = H(b) - H(b | a) ≥ H(b) + E_pairs[ log q(b | a) ]

Barber & Agakov 2003, The IM algorithm (NeurIPS 16), equation 3; Poole et al. 2019, arXiv 1905.06922, equation 2. The gap is
E KL( p(b | a) ‖ q(b | a) ). The critic must be a decoder: scores that are log densities, as `gaussian` and `categorical`
give. The entropy H(b) is not in the data: where it is known, give it, and the value is a lower bound in nats. Without it
the value is the decoder's gain over the marginal m(b) that it learns beside,

    E_pairs[ log q(b | a) - log m(b) ] = I(a; b) - E KL( p(b | a) ‖ q(b | a) ) + KL( p(b) ‖ m(b) ),

no strict bound: it may exceed I by how badly m fits the marginal. It is 0 at best where a tells nothing, for m is one of
the q's; it is the usable information of Xu et al. 2020 (arXiv 2002.10689) for this family of decoders. For labels, m is
the table of their frequencies, and the last term vanishes as 1/n.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.critics.base.decoder import Decoder
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import positives
from phylocli.objectives.base.requirements import Requirements


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean of the true pairs' scores log q(b | a) / m(b), or log q(b | a) + H(b), a scalar in nats."""
    return positives(scores).mean()


class Objective(Estimator):
    """Barber–Agakov on a decoder: `loss` (negative log densities of q and m) and `bound` (nats).

    Args:
        critic: a decoder (`gaussian`, `categorical`).
        entropy: H(b) in nats where it is known; None gives the gain over the learned marginal.
    """

    def __init__(self, critic: nn.Module, *, entropy: float | None = None) -> None:
        super().__init__(critic)
        if not isinstance(critic, Decoder):
            raise UsageError(
                "barber-agakov needs a critic that is a decoder",
                why="its scores must be log densities of b given a",
                fix="take the critic gaussian, or categorical for labels",
            )
        self.decoder = critic
        self.entropy = entropy
        self.requirements = Requirements(negatives=False)

    def scores(self, a: Tensor, b: Tensor) -> Tensor:
        """Return log q(b | a) - log m(b), or log q(b | a) + H(b), (N, M)."""
        return self.critic(a, b) + (self.entropy if self.entropy is not None else -self.decoder.marginal(b)[None])

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound, or the gain, in nats."""
        return bound(scores, negatives)

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` and `bound`, from a and b (N, D). Negatives have no part in it."""
        decoded, marginal = positives(self.critic(a, b)).mean(), self.decoder.marginal(b).mean()
        value = decoded + (self.entropy if self.entropy is not None else -marginal)
        return {"loss": -(decoded + marginal), "bound": value.detach()}
