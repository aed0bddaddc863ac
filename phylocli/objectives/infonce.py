"""InfoNCE: find the true partner among the batch's negatives (van den Oord 2018).

    I(a; b) ≥ E[ log  exp s(aᵢ, bᵢ) / ( 1/K Σⱼ exp s(aᵢ, bⱼ) ) ],   at most log K

with j over the true partner and K - 1 negatives.

van den Oord, Li & Vinyals 2018, arXiv 1807.03748; that it is a bound: Poole et al. 2019, arXiv 1905.06922. The symmetric
form averages this over "b given a" and "a given b"; with a learned temperature that is CLIP's loss (Radford et al. 2021,
arXiv 2103.00020). The loss is the cross entropy, that is log K minus the bound.
"""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.objectives._masking import Batch, contrast


def bound(scores: Tensor, negatives: Tensor, *, symmetric: bool = True) -> Tensor:
    """Return the bound in nats, a scalar, from scores (N, N) and the mask of negatives (N, N)."""
    log_probability, ceiling = contrast(scores, negatives)
    value = (log_probability + ceiling).mean()
    return (value + bound(scores.T, negatives.T, symmetric=False)) / 2 if symmetric else value


class Objective(nn.Module):
    """InfoNCE on a critic's scores.

    Args:
        critic: scores (N, N).
        symmetric: contrast in both directions; False: each a against all b only.
    """

    def __init__(self, critic: nn.Module, *, symmetric: bool = True) -> None:
        super().__init__()
        self.critic = critic
        self.symmetric = symmetric

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and its `ceiling` log K, from a and b (N, D)."""
        scores, negatives = self.critic(a, b), batch.negatives()
        value = bound(scores, negatives, symmetric=self.symmetric)
        ceiling = contrast(scores, negatives)[1].mean()
        return {"loss": ceiling - value, "bound": value.detach(), "ceiling": ceiling}
