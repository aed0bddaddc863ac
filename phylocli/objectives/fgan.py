"""f-GAN: the variational bound of eight f-divergences, and mutual information from its critic (Nowozin 2016).

    D_f( p(a, b) ‖ p(a) p(b) ) ≥ E_pairs[ g(s) ] - E_negatives[ f*(g(s)) ]

Nowozin, Cseke & Tomioka 2016, arXiv 1606.00709, equations 4 to 6, with the rows of tables 1, 2 and 6 in `base.divergences`;
Nguyen, Wainwright & Jordan 2010, doi:10.1109/TIT.2010.2068870. With `kl` it is `nwj`, with `jensen-shannon` it is `jsd`. The
value is in units of the divergence, not of information, but the best critic g(s) = f'(r) determines the density ratio r, so
NWJ evaluated with 1 + log r gives nats, as in Poole et al. 2019 (arXiv 1905.06922, section 2.3) for Jensen–Shannon. Total
variation is the exception: its best critic only determines whether r is above 1.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError, unknown_name
from phylocli.objectives import nwj
from phylocli.objectives.base.divergences import DIVERGENCES, Divergence
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import mean, positives


def row(divergence: str) -> Divergence:
    """Return a divergence of the table.

    Raises:
        UsageError: no such divergence.
    """
    if divergence not in DIVERGENCES:
        raise unknown_name("unknown f-divergence", divergence, DIVERGENCES)
    return DIVERGENCES[divergence]


def divergence_bound(scores: Tensor, negatives: Tensor, *, divergence: str = "jensen-shannon") -> Tensor:
    """Return the lower bound on the divergence between pairs and negatives, a scalar, from scores (N, N) and the mask."""
    table = row(divergence)
    # Mask before the exponential, so that an overflow cannot reach the gradient.
    penalty = table.penalty(scores.masked_fill(~negatives, 0))
    return table.activation(positives(scores)).mean() - mean(penalty, negatives)


def bound(scores: Tensor, negatives: Tensor, *, divergence: str = "jensen-shannon") -> Tensor:
    """Return NWJ's bound in nats for a critic trained with this divergence, a scalar.

    Raises:
        UsageError: total variation, whose critic does not determine the ratio.
    """
    table = row(divergence)
    if table.log_ratio is None:
        raise UsageError(
            f"a critic for {divergence} does not determine the information",
            why="it only knows the ratio's side of 1",
            fix="choose another divergence",
        )
    return nwj.bound(table.log_ratio(scores) + 1, negatives)


class Objective(Estimator):
    """The bound of an f-divergence: `loss`, `divergence` and, except for total variation, `bound` (nats).

    Args:
        critic: scores (N, N).
        divergence: `total-variation`, `kl`, `reverse-kl`, `pearson`, `neyman`, `hellinger` (squared), `jeffrey` or
            `jensen-shannon`.
    """

    def __init__(self, critic: nn.Module, *, divergence: str = "jensen-shannon") -> None:
        super().__init__(critic)
        self.table = row(divergence)

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return NWJ's bound in nats."""
        return bound(scores, negatives, divergence=self.table.name)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss`, `divergence` and, if defined, `bound`."""
        value = divergence_bound(scores, negatives, divergence=self.table.name)
        terms = {"loss": -value, "divergence": value.detach()}
        if self.table.log_ratio is not None:
            terms["bound"] = self.bound(scores, negatives).detach()
        return terms

    def best_scores(self, log_ratio: Tensor) -> Tensor:
        """Return v with g(v) = f'(r)."""
        return self.table.best(log_ratio)
