"""Reproducible random subsets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def subsample(rows: IntArray, most: int, seed: int) -> IntArray:
    """Return at most `most` of these rows, sampled without replacement, in their original order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
