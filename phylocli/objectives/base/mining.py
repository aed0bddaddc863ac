"""Mining: which negative each anchor is contrasted with, by its score."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.core.errors import UsageError, unknown_name

MININGS = ("all", "semihard", "hard")


def check_mining(mining: str) -> None:
    """Raise a UsageError for an unknown kind of mining."""
    if mining not in MININGS:
        raise unknown_name("unknown mining", mining, MININGS)


def mined(scores: Tensor, negatives: Tensor, mining: str, hardness: Tensor | float = 1.0) -> Tensor:
    """Return which negatives the anchors (rows) are contrasted with, (N, N) bool; a row without negatives has none.

    Args:
        scores: (N, N), true pairs on the diagonal; the higher, the nearer.
        negatives: (N, N) bool, False on the diagonal.
        mining: `all` negatives; the `hard` one, of the highest score; or the `semihard` one, of the highest score below that
            of the true pair (Schroff et al. 2015, arXiv 1503.03832), or of the lowest score if all are higher.
        hardness: with `hard`, the quantile of the anchor's negatives that is taken, ordered by score: 1, the hardest.
    """
    check_mining(mining)
    if mining == "all":
        return negatives
    with torch.no_grad():
        place = torch.arange(len(scores), device=scores.device)
        lowest, highest = torch.finfo(scores.dtype).min, torch.finfo(scores.dtype).max
        if mining == "semihard":
            below = negatives & (scores < scores.diagonal()[:, None])
            inside = scores.masked_fill(~below, lowest).argmax(1)
            outside = scores.masked_fill(~negatives, highest).argmin(1)
            chosen = torch.where(below.any(1), inside, outside)
        else:
            order = scores.masked_fill(~negatives, lowest).argsort(dim=1, descending=True, stable=True)
            others = (negatives.sum(1) - 1).clamp(min=0)
            chosen = order.gather(1, ((1 - hardness) * others).round().long()[:, None])[:, 0]
        return (place[None] == chosen[:, None]) & negatives


class Curriculum(nn.Module):
    """How hard the mined negatives are: from the median to the hardest over some steps. The step is in the checkpoint.

    Args:
        mining: `hard`, if there are any steps.
        steps: number of steps; 0: the hardest from the first step on.

    Raises:
        UsageError: a negative number of steps, or steps with another kind of mining.
    """

    step: Tensor

    def __init__(self, mining: str, steps: int) -> None:
        super().__init__()
        check_mining(mining)
        if steps < 0:
            raise UsageError(f"the curriculum cannot have {steps} steps", fix="give 0 or more")
        if steps and mining != "hard":
            raise UsageError(f"mining {mining!r} has no curriculum", fix="use mining=hard, or curriculum=0")
        self.steps = steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def hardness(self) -> Tensor | float:
        """Return the quantile of the negatives, from 0.5 to 1, at this step."""
        return 0.5 + 0.5 * (self.step / self.steps).clamp(max=1) if self.steps else 1.0

    @torch.no_grad()
    def advance(self) -> None:
        """Go to the next step."""
        self.step += 1
