"""Residue embeddings: the protocol, and one-hot residues as a baseline."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet

FloatArray = npt.NDArray[np.float32]


class ResidueVectors(Protocol):
    """Returns the residue embeddings of sequences."""

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return one array (L, D) for each id, residues in order."""


@dataclass
class OneHot:
    """One-hot encoding of residues and their neighbours, as a baseline.

    Attributes:
        sequences: unaligned sequences by id.
        window: number of residues in the window, odd; 1 is the residue alone. Each has 21 features (20 amino acids and
            unknown), which are 0 beyond the ends of the sequence.
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
