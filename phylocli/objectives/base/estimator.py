"""Base class of estimators of mutual information, which are functions of a critic's scores only."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from phylocli.core.plugins import OBJECTIVES
from phylocli.objectives.base.batch import Batch


class Estimator(nn.Module):
    """An objective that is a function of the scores (N, N) of all pairs and the mask of negatives.

    Attributes:
        side: on which side of the information the expected estimate from a finite batch is: `lower` or `upper` bound, or
            `neither`.
        needs_decoder: whether the critic must be a decoder.

    A subclass defines `bound`, and `terms` if the loss is not the negative bound.

    Args:
        critic: a (N, D), b (M, D) → scores (N, M).
    """

    side: Literal["lower", "upper", "neither"] = "lower"
    needs_decoder: bool = False

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the estimate in nats, a scalar, from scores (N, N) with true pairs on the diagonal, and the mask (N, N)."""
        raise NotImplementedError

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return the named terms, of which `loss` is minimised and `bound` is in nats."""
        value = self.bound(scores, negatives)
        return {"loss": -value, "bound": value.detach()}

    def scores(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the scores that `terms` and `bound` take, (N, M), for a (N, D) and b (M, D)."""
        return self.critic(a, b)

    def best_scores(self, log_ratio: Tensor) -> Tensor:
        """Return the scores of the best critic, given log p(a, b) / p(a) p(b), of the same shape."""
        return log_ratio

    def ceiling(self, negatives: Tensor) -> float | None:
        """Return the maximum of the estimate in nats with this mask (N, N); None if unlimited."""
        return None

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and further terms of the estimator, from a and b (N, D)."""
        return self.terms(self.scores(a, b), batch.negatives())


def needs_decoder(name: str) -> bool:
    """Return whether the critic of this objective must be a decoder, such as `gaussian` or `categorical`."""
    return bool(getattr(OBJECTIVES.load(name).Objective, "needs_decoder", False))


def estimators() -> list[str]:
    """Return the sorted names of the objectives that estimate mutual information, that is, define a function `bound`."""
    return [name for name in OBJECTIVES.names() if hasattr(OBJECTIVES.load(name), "bound")]
