"""A sequence profile: the frequencies of the 20 amino acids at each residue, in alphabetical order of their letters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS

INPUT = {"inputs": len(AMINO_ACIDS)}
ENCODER = {"name": "convolutional", "preset": "small", "pooling": "mean"}
PER_RESIDUE = True


def parse(value: object) -> npt.NDArray[np.float32]:
    """Return the frequencies, (L, 20), of which each row sums to 1, from (L, 20) or (20 L,) numbers of at least 0."""
    numbers = np.asarray(value, dtype=np.float32)
    if numbers.ndim not in (1, 2) or numbers.size % len(AMINO_ACIDS) or (numbers.ndim == 2 and numbers.shape[1] != 20):
        raise ValueError(f"20 numbers for each residue are needed, not an array of shape {numbers.shape}")
    numbers = numbers.reshape(-1, len(AMINO_ACIDS))
    totals = numbers.sum(1, keepdims=True)
    if not np.isfinite(numbers).all() or (numbers < 0).any() or (totals <= 0).any():
        raise ValueError("the numbers of each residue must be finite, at least 0, and not all 0")
    return numbers / totals
