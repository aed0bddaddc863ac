"""A nucleotide sequence, such as a gene."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import VOCABULARY_SIZE, check_residues, degap, encode_tokens

INPUT = {"vocabulary": VOCABULARY_SIZE}
ENCODER = {"name": "convolutional", "preset": "small", "pooling": "mean"}
COLUMNS = ("dna", "rna", "cds")
ALPHABET = "dna"


def parse(value: object) -> npt.NDArray[np.uint8]:
    """Return the tokens of a sequence, (L,); gaps are dropped."""
    if not isinstance(value, str):
        raise TypeError(f"a sequence is needed, not {type(value).__name__}")
    check_residues(value, value, alphabet="dna")
    return encode_tokens(degap(value), "dna")
