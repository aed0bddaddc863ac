"""Effective rank of a set of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NOISE = 1e-12
"""Squared singular values below this fraction of the largest are rounding errors."""


def effective_rank(vectors: npt.NDArray[np.floating[Any]]) -> float:
    """Return the effective rank of centred vectors, exp(−Σ p log p) with p the singular values over their sum.

    It is between 1 (one direction) and min(n − 1, D) (all directions equal), and 0 if all vectors are equal.

    Args:
        vectors: shape (n, D).

    References:
        Roy & Vetterli 2007, The effective rank: a measure of effective dimensionality (EUSIPCO), definition 1.
    """
    x = np.asarray(vectors, dtype=np.float64)
    x = x - x.mean(axis=0)
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    squared = np.linalg.eigvalsh(gram)
    values = np.sqrt(squared[squared > max(squared.max(initial=0.0), 0.0) * NOISE])
    if not len(values):
        return 0.0
    p = values / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
