"""Structure letters of Foldseek (3Di), one per residue.

van Kempen et al. 2024, doi:10.1038/s41587-023-01773-0. The 20 states are written with the letters of the amino acids.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import AMINO_ACIDS, FIRST_RESIDUE, VOCABULARY_SIZE
from phylocli.modalities import letters

INPUT = {"vocabulary": VOCABULARY_SIZE}
ENCODER = {"name": "convolutional", "preset": "small", "pooling": "mean"}
COLUMNS = ("3di", "foldseek")
PER_RESIDUE = True


def parse(value: object) -> npt.NDArray[np.uint8]:
    """Return the tokens of structure letters, (L,); `X` is unknown."""
    return letters(value, AMINO_ACIDS + "X", FIRST_RESIDUE, "3Di")
