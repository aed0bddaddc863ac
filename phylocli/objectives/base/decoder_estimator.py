"""Base class of estimators whose critic is a decoder, because they need the density of b given a."""

from __future__ import annotations

from torch import Tensor, nn

from phylocli.core.errors import UsageError
from phylocli.critics.base.decoder import Decoder
from phylocli.objectives.base.batch import Batch
from phylocli.objectives.base.estimator import Estimator
from phylocli.objectives.base.masking import positives
from phylocli.objectives.base.requirements import Requirements


class DecoderEstimator(Estimator):
    """An estimator on the log densities of a decoder q(b | a), which is trained by maximum likelihood.

    Args:
        critic: a decoder (`gaussian`, `categorical`).

    Raises:
        UsageError: the critic is not a decoder.
    """

    needs_decoder = True

    def __init__(self, critic: nn.Module) -> None:
        super().__init__(critic)
        if not isinstance(critic, Decoder):
            raise UsageError(
                f"{type(self).__module__.rsplit('.', 1)[-1].replace('_', '-')} needs a critic that is a decoder",
                why="its scores must be log densities of b given a",
                fix="use the critic gaussian, or categorical for labels",
            )
        self.decoder = critic
        self.requirements = Requirements(negatives=False)

    def relative(self, log_q: Tensor, log_m: Tensor) -> Tensor:
        """Return the scores, log q(b | a) - log m(b), (N, M), from log q (N, M) and log m (M,)."""
        return log_q - log_m[None]

    def scores(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the scores that `bound` takes, (N, M)."""
        return self.relative(self.critic(a, b), self.decoder.marginal(b))

    def terms(self, scores: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        """Return `loss`, the negative mean score of the true pairs, and `bound` (nats)."""
        return {"loss": -positives(scores).mean(), "bound": self.bound(scores, negatives).detach()}

    def forward(self, a: Tensor, b: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return `loss` (negative log densities of q and m) and `bound` (nats), from a and b (N, D)."""
        log_q, log_m = self.critic(a, b), self.decoder.marginal(b)
        value = self.bound(self.relative(log_q, log_m), batch.negatives())
        return {"loss": -(positives(log_q).mean() + log_m.mean()), "bound": value.detach()}
