"""Alignment and uniformity, optimised directly: no critic, no softmax (Wang & Isola 2020).

    loss = E_pairs ‖a - b‖^α + λ · log E_negatives exp(-t ‖x - y‖²),   all vectors of length 1

The second term is averaged over the a side and the b side. Wang & Isola 2020, arXiv 2005.10242.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.masking import logmeanexp


def alignment(a: Tensor, b: Tensor, power: float = 2.0) -> Tensor:
    """Return the average distance to the power `power` between partners, a scalar, from a and b (N, D)."""
    return (F.normalize(a, dim=-1) - F.normalize(b, dim=-1)).norm(dim=1).pow(power).mean()


def uniformity(x: Tensor, negatives: Tensor, scale: float = 2.0) -> Tensor:
    """Return log of the average Gaussian potential over the pairs that `negatives` (N, N) allows, a scalar ≤ 0."""
    x = F.normalize(x, dim=-1)
    squared = (2 - 2 * (x @ x.T)).clamp(min=0)
    return logmeanexp(-scale * squared, negatives)


class Objective(nn.Module):
    """Alignment plus weighted uniformity.

    Args:
        critic: not used; the objective depends on distances only.
        power: α.
        scale: t.
        weight: λ.
    """

    def __init__(self, critic: nn.Module, *, power: float = 2.0, scale: float = 2.0, weight: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.scale = scale
        self.weight = weight

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `alignment` and `uniformity`, from a and b (N, D)."""
        negatives = batch.negatives()
        near = alignment(a, b, self.power)
        spread = torch.stack([uniformity(a, negatives, self.scale), uniformity(b, negatives, self.scale)]).mean()
        return {"loss": near + self.weight * spread, "alignment": near.detach(), "uniformity": spread.detach()}
