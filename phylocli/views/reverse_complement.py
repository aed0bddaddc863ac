"""Nucleotides: the other strand, read from its own start.

Double-stranded DNA has no preferred strand, so a sequence and its reverse complement carry the same information (as an
augmentation: Cao & Zhang, Bioinformatics 35:1837, 2019; Kopp et al., Nat. Commun. 11:3488, 2020). IUPAC ambiguity codes are
complemented as sets of nucleotides. Nothing changes, so the evolutionary distance between the two views is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.alphabet import COMPLEMENT
from phylocli.views.base.contracts import Tokens, check_fraction

KIND = "transform"
ALPHABETS = ("dna",)
DISTANCE = "0"


class ReverseComplement:
    """Takes the other strand with a given probability, independently for each view.

    Args:
        probability: 0.5 leaves half of all pairs on the same strand.
    """

    expected_distance = 0.0

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = check_fraction(probability, "probability")

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the sequence or its reverse complement."""
        return reverse_complement(tokens) if rng.random() < self.probability else tokens


def reverse_complement(tokens: Tokens) -> Tokens:
    """Return the tokens of the other strand; masks and unknown nucleotides are unchanged."""
    return COMPLEMENT[tokens[::-1]]


make = ReverseComplement
