"""InfoNCE: identify the true partner among the negatives of the batch (van den Oord 2018).

    I(a; b) ≥ E[ log  exp s(aᵢ, bᵢ) / ( 1/K Σⱼ exp s(aᵢ, bⱼ) ) ],   at most log K

with j over the true partner and K - 1 negatives: all negatives of the batch, or m of them, so that K = m + 1 as in
contrastive predictive coding, independent of the batch size.

van den Oord, Li & Vinyals 2018, arXiv 1807.03748, equations 4 and 5; proof of the bound: Poole et al. 2019, arXiv
1905.06922, equation 10. The symmetric form is the mean over "b given a" and "a given b"; with a learned temperature it is
CLIP's loss (Radford et al. 2021, arXiv 2103.00020). The loss is the cross entropy, that is, log K minus the bound. Best
critic: log p(b | a) / p(b) + any function of a; for the symmetric form, + any constant.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import at_most, contrast


def bound(scores: Tensor, negatives: Tensor, *, symmetric: bool = True, m: int | None = None) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N).

    Args:
        scores: true pairs on the diagonal.
        negatives: mask of the pairs that may be contrasted.
        symmetric: the mean over both directions; False: each a against the b's only.
        m: negatives per pair, or all if there are fewer; None takes all. The next ones in the batch are taken: the order of
            the batch is random, so this is equivalent to sampling and needs no random numbers.
    """
    log_probability, ceiling = contrast(scores, at_most(negatives, m))
    value = (log_probability + ceiling).mean()
    return (value + bound(scores.T, negatives.T, symmetric=False, m=m)) / 2 if symmetric else value


class Objective(Estimator):
    """InfoNCE on a critic's scores: `loss`, `bound` (nats) and its `ceiling` log K.

    Args:
        critic: scores (N, N).
        symmetric: contrast in both directions; False: each a against the b's only.
        negatives: m; 0 takes all negatives of the batch.
    """

    def __init__(self, critic: nn.Module, *, symmetric: bool = True, negatives: int = 0) -> None:
        super().__init__(critic)
        if negatives < 0:
            raise UsageError(f"InfoNCE needs at least one negative, not {negatives}", fix="0 takes all of the batch")
        self.symmetric = symmetric
        self.m = negatives or None

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the bound in nats."""
        return bound(scores, negatives, symmetric=self.symmetric, m=self.m)

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss`, `bound` and `ceiling`."""
        value = self.bound(scores, negatives)
        ceiling = self._ceiling(scores, negatives)
        return {"loss": ceiling - value, "bound": value.detach(), "ceiling": ceiling}

    def _ceiling(self, scores: Tensor, negatives: Tensor) -> Tensor:
        # The mask is symmetric, so both directions have the same candidates.
        return contrast(scores, at_most(negatives, self.m))[1].mean()

    def ceiling(self, negatives: Tensor) -> float:
        """Return log K."""
        return float(self._ceiling(negatives.double(), negatives))
