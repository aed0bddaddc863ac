"""Sampling as a function of uniform random numbers: reproducible on every device, and independent of the batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def uniform_numbers(n: int, width: int, *, seed: int, first: int = 0) -> Tensor:
    """Return uniform random numbers in [0, 1), (n, width) float64; row i is a function of the seed and of first + i.

    Args:
        n: number of sequences.
        width: numbers per sequence, `SequenceDecoder.draws`.
        seed: random seed.
        first: index of the first sequence, so that parts of a large sample equal the whole.
    """
    rows = [np.random.default_rng([seed, first + i]).random(width) for i in range(n)]
    return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, width)))


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """Return one class per row by inversion of the cumulative distribution, (…,) int64.

    Args:
        logits: unnormalised log probabilities, (…, K); −∞ is never drawn.
        uniform: in [0, 1), (…,).
        temperature: 1 samples, below 1 prefers probable classes, 0 returns the most probable one.
    """
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (cumulative / cumulative[..., -1:] <= uniform[..., None].to(cumulative.device)).sum(-1)
