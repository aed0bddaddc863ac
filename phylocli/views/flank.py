"""Nucleotides: a site with more or less of its neighbourhood in the genome.

A regulatory site is the same site whether 10 or 100 nucleotides of its surroundings come with it, and wherever in the window
it lies (windows shifted and widened about a site as augmentation: Cao & Zhang, Bioinformatics 35:1837, 2019; flanks of the
regions of interest: Kopp et al., Nat. Commun. 11:3488, 2020). The input holds each site with `context` nucleotides on
either side, as `bedtools slop` and `getfasta` cut them out. Nothing changes, so the distance between the two views is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.errors import BadInputError, UsageError
from phylocli.views.base.contracts import Tokens

KIND = "transform"
ALPHABETS = ("dna",)
DISTANCE = "0"


class Flank:
    """Keeps the site and a random number of nucleotides on each side of it, drawn uniformly for each side by itself.

    Args:
        context: nucleotides on either side of the site that the input holds.
        min_flank, max_flank: how many are kept, at least and at most; by default none to all. A negative number cuts that
            many off the site itself, of which one nucleotide always stays.
    """

    expected_distance = 0.0

    def __init__(self, context: int = 0, min_flank: int = 0, max_flank: int | None = None) -> None:
        self.context, self.least = int(context), int(min_flank)
        self.most = self.context if max_flank is None else int(max_flank)
        if self.context < 0 or not self.least <= self.most <= self.context:
            raise UsageError(
                f"the view flank cannot keep {self.least} to {self.most} of {self.context} nucleotides",
                fix="give the context that the input holds, and min_flank ≤ max_flank ≤ context",
            )

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the part that is kept.

        Raises:
            BadInputError: the sequence is not longer than its two flanks.
        """
        length = len(tokens)
        if length <= 2 * self.context:
            raise BadInputError(
                f"a sequence of {length} nucleotides holds no site between two flanks of {self.context}",
                fix="give the sites with their surroundings, or a smaller flank.context",
            )
        left, right = rng.integers(self.least, self.most + 1, 2).tolist()
        start, end = self.context - left, length - self.context + right
        if start >= end:  # more was cut off than there is
            start = min(max(start, self.context), length - self.context - 1)
            end = start + 1
        return tokens[start:end]


def make(context: int = 0, min_flank: int = 0, max_flank: int | None = None) -> Flank:
    """Return the view; see `Flank`."""
    return Flank(context, min_flank, max_flank)
