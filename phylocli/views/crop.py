"""A contiguous part of the sequence.

Contrasting two random crops of one sequence is the standard augmentation of contrastive pretraining without evolution. No
residue changes, so the evolutionary distance between the two views is 0; they share the overlap.
"""

from __future__ import annotations

import math

import numpy as np

from phylocli.core.errors import UsageError
from phylocli.views.base.contracts import Tokens, check_fraction

KIND = "transform"
DISTANCE = "0"


class Crop:
    """Keeps a random contiguous part.

    The kept fraction is uniform between `min_fraction` and `max_fraction` of the length (rounded up), its position uniform
    among all that fit. A crop has at least `min_length` residues, or the whole sequence if that is shorter, and at most
    `max_length`, which limits the time for long proteins.
    """

    expected_distance = 0.0

    def __init__(
        self, min_fraction: float = 0.5, max_fraction: float = 1.0, min_length: int = 1, max_length: float = math.inf
    ) -> None:
        self.low = check_fraction(min_fraction, "min_fraction", zero=False)
        self.high = check_fraction(max_fraction, "max_fraction", zero=False)
        if self.low > self.high:
            raise UsageError(
                f"the view crop cannot keep from {self.low:g} to {self.high:g}", fix="min_fraction ≤ max_fraction"
            )
        self.min_length = max(1, int(min_length))
        self.max_length = max_length
        if not max_length >= self.min_length:
            raise UsageError(
                f"the view crop cannot keep {min_length} to {max_length:g} residues", fix="min_length ≤ max_length"
            )

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the kept part."""
        length = len(tokens)
        share, place = rng.random(2).tolist()
        keep = -int(-(self.low + (self.high - self.low) * share) * length // 1)
        keep = int(min(length, max(keep, self.min_length), self.max_length))
        start = int(place * (length - keep + 1))
        return tokens[start : start + keep]


make = Crop
