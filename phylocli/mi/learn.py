"""Training of an estimator's critic on some pairs, with early stopping on others."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor

from phylocli.mi.paired import Paired
from phylocli.objectives import Batch, Estimator

CHECK = 50
"""Number of steps between evaluations on the pairs for stopping."""
PATIENCE = 10
"""Number of evaluations without improvement after which training ends."""


class Scaler:
    """Standardises features by the training pairs, which does not change the information; one-hot labels are unchanged.

    Args:
        train: the training pairs.
    """

    def __init__(self, train: Paired) -> None:
        self._sides = [_moments(train.a), (0.0, 1.0) if train.classes else _moments(train.b)]

    def __call__(self, pairs: Paired) -> tuple[Tensor, Tensor]:
        """Return a and b, (n, D) and (n, E)."""
        (mean_a, scale_a), (mean_b, scale_b) = self._sides
        return torch.from_numpy((pairs.a - mean_a) / scale_a), torch.from_numpy((pairs.b - mean_b) / scale_b)


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = x.std(axis=0)
    return x.mean(axis=0), np.where(scale > 1e-6 * scale.max(initial=1e-30), scale, 1).astype(np.float32)


def fit(
    method: Estimator,
    train: tuple[Tensor, Tensor],
    stop: tuple[Tensor, Tensor],
    *,
    batch_size: int,
    steps: int,
    learning_rate: float,
    seed: int,
) -> int:
    """Train with Adam until the loss on the pairs for stopping has not decreased for a while; keep the best weights.

    Args:
        method: modified in place.
        train: a and b of the training pairs.
        stop: a and b of the pairs for stopping.
        batch_size: pairs per batch, at most as many as there are.
        steps: maximum number of steps.
        learning_rate: of Adam.
        seed: of the order of batches.

    Returns:
        The step of the best weights; 0 if training never helped.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(method.parameters(), lr=learning_rate)
    best, best_step, best_state = held_out_loss(method, stop, batch_size), 0, copy.deepcopy(method.state_dict())
    size = min(batch_size, len(train[0]))
    batch = Batch.of_pairs(size)
    order = torch.empty(0, dtype=torch.int64)
    for step in range(1, steps + 1):
        if len(order) < size:
            order = torch.randperm(len(train[0]), generator=generator)
        rows, order = order[:size], order[size:]
        loss = method(train[0][rows], train[1][rows], batch)["loss"]
        if math.isfinite(loss.item()):
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        if step % CHECK == 0 or step == steps:
            now = held_out_loss(method, stop, batch_size)
            if now < best:
                best, best_step, best_state = now, step, copy.deepcopy(method.state_dict())
            elif step - best_step >= CHECK * PATIENCE:
                break
    method.load_state_dict(best_state)
    method.eval()
    return best_step


@torch.no_grad()
def held_out_loss(method: Estimator, pairs: tuple[Tensor, Tensor], batch_size: int) -> float:
    """Return the mean loss over blocks of about `batch_size` pairs; infinity if it is NaN."""
    method.eval()
    blocks = max(1, round(len(pairs[0]) / batch_size))
    values = [
        method(a, b, Batch.of_pairs(len(a)))["loss"].item()
        for a, b in zip(pairs[0].tensor_split(blocks), pairs[1].tensor_split(blocks), strict=True)
    ]
    method.train()
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else math.inf
