"""Barber–Agakov: how much a decoder's prediction of b improves given a (Barber & Agakov 2003).

    I(a; b) = H(b) - H(b | a) ≥ H(b) + E_pairs[ log q(b | a) ]

Barber & Agakov 2003, The IM algorithm (NeurIPS 16), equation 3; Poole et al. 2019, arXiv 1905.06922, equation 2. The gap
is E KL( p(b | a) ‖ q(b | a) ). The critic must be a decoder: its scores are log densities, as in `gaussian` and
`categorical`. With the entropy H(b), which cannot be computed from the data, the value is a lower bound in nats. Without
it, the value is the decoder's gain over a learned marginal m(b),

    E_pairs[ log q(b | a) - log m(b) ] = I(a; b) - E KL( p(b | a) ‖ q(b | a) ) + KL( p(b) ‖ m(b) ),

not a strict bound: it may exceed I if m fits the marginal badly, and is an upper bound (Poole et al. 2019, section 2.1)
if q is the true density p(b | a). It is at most 0 if a is uninformative, because m is one of the q's; it is the usable
information of Xu et al. 2020 (arXiv 2002.10689) for this family of decoders. For labels, m is the table of their
frequencies, and the last term vanishes as 1/n.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.objectives.base.decoder_estimator import DecoderEstimator
from phylocli.objectives.base.masking import positives


def bound(scores: Tensor, negatives: Tensor) -> Tensor:
    """Return the mean score of the true pairs, log q(b | a) / m(b) or log q(b | a) + H(b), a scalar in nats."""
    return positives(scores).mean()


class Objective(DecoderEstimator):
    """Barber–Agakov on a decoder: `loss` (negative log densities of q and m) and `bound` (nats).

    Args:
        critic: a decoder (`gaussian`, `categorical`).
        entropy: H(b) in nats if known; None gives the gain over the learned marginal.
    """

    def __init__(self, critic: nn.Module, *, entropy: float | None = None) -> None:
        super().__init__(critic)
        self.entropy = entropy
        self.side = "neither" if entropy is None else "lower"

    def relative(self, log_q: Tensor, log_m: Tensor) -> Tensor:
        """Return log q(b | a) - log m(b), or log q(b | a) + H(b), (N, M)."""
        return super().relative(log_q, log_m) if self.entropy is None else log_q + self.entropy

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound, or the gain, in nats; negatives are not used."""
        return bound(scores, negatives)
