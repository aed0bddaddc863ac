"""What estimators of mutual information share: they see a critic's scores, and nothing else of a and b."""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.plugins import OBJECTIVES
from phylocli.objectives.base.batch import Batch


class Estimator(nn.Module):
    """An objective that is a function of the scores (N, N) of all pairs and of who may be whose negative.

    A subclass gives `bound`, and `terms` where the loss is something else than the bound with its sign changed.

    Args:
        critic: a (N, D), b (M, D) → scores (N, M).
    """

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def bound(self, scores: Tensor, negatives: Tensor) -> Tensor:
        """Return the estimate in nats, a scalar, from scores (N, N), true pairs on the diagonal, and the mask (N, N)."""
        raise NotImplementedError

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return the named terms, of which `loss` is minimised and `bound` is in nats."""
        value = self.bound(scores, negatives)
        return {"loss": -value, "bound": value.detach()}

    def scores(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the scores that `terms` and `bound` take, (N, M), for a (N, D) and b (M, D)."""
        return self.critic(a, b)

    def best_scores(self, log_ratio: Tensor) -> Tensor:
        """Return the scores of the best critic where log p(a, b) / p(a) p(b) is known, of the same shape."""
        return log_ratio

    def ceiling(self, negatives: Tensor) -> float | None:
        """Return the greatest value in nats that the estimate can take with this mask (N, N); None if unlimited."""
        return None

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss`, `bound` (nats) and what else the estimator has to say, from a and b (N, D)."""
        return self.terms(self.scores(a, b), batch.negatives())


def estimators() -> list[str]:
    """Return the names of the objectives that estimate mutual information, sorted: those with a function `bound`."""
    return [name for name in OBJECTIVES.names() if hasattr(OBJECTIVES.load(name), "bound")]
