"""Estimates with the true log density ratio in place of a critic, which leave the errors of the estimator alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phylocli.critics.base.decoder import Decoder
from phylocli.objectives import Batch, Estimator, build_objective, needs_decoder


@torch.no_grad()
def true_ratio_estimate(estimator: str, log_ratio: Tensor) -> float:
    """Return the estimate in nats from log p(a, b) / p(a) p(b) of N × N pairs, true pairs on the diagonal."""
    critic = Decoder() if needs_decoder(estimator) else nn.Identity()
    objective = build_objective(estimator, critic)
    assert isinstance(objective, Estimator)
    return float(objective.bound(objective.best_scores(log_ratio), Batch.of_pairs(len(log_ratio)).negatives()))
