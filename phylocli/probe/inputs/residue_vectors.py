"""Residue embeddings: from any source, or one-hot as a baseline."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet

FloatArray = npt.NDArray[np.float32]


class ResidueVectors(Protocol):
    """Gives the embeddings of the residues of some sequences."""

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, D) for each id, residues in order."""


@dataclass
class OneHot:
    """One-hot residues with their neighbours, a baseline without an embedding.

    Attributes:
        sequences: letters by id.
        window: number of residues in the window, odd: 1 is the residue alone. Each has 21 features (20 amino acids,
            unknown), which are 0 beyond the ends.
    """

    sequences: dict[str, str]
    window: int = 1

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, 21 · window) for each id."""
        half = self.window // 2
        found = []
        for name in ids:
            states = alphabet.encode_states([self.sequences[name]])[0]
            hot = np.zeros((len(states) + 2 * half, alphabet.MISSING + 1), dtype=np.float32)
            hot[np.arange(half, half + len(states)), states] = 1
            found.append(np.concatenate([hot[k : k + len(states)] for k in range(self.window)], axis=1))
        return found
