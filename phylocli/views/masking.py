"""A fraction of the residues replaced by the mask token.

No residue changes, so the evolutionary distance between the two views is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.alphabet import MASK
from phylocli.views.base.contracts import Tokens, check_fraction

KIND = "transform"
DISTANCE = "0"


class Masking:
    """Masks each residue with probability `fraction`, independently."""

    expected_distance = 0.0

    def __init__(self, fraction: float = 0.15) -> None:
        self.fraction = check_fraction(fraction, "fraction")

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the sequence with masks."""
        result = tokens.copy()
        result[rng.random(len(tokens)) < self.fraction] = MASK
        return result


make = Masking
