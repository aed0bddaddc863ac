"""Nucleotides: a site with more or less of its genomic neighbourhood.

A regulatory site is the same whether it is given with 10 or 100 nucleotides of its surroundings, and at any position in the
window (shifted and widened windows as augmentation: Cao & Zhang, Bioinformatics 35:1837, 2019; flanks of regions of
interest: Kopp et al., Nat. Commun. 11:3488, 2020). The input contains each site with `context` nucleotides on either side,
as extracted by `bedtools slop` and `getfasta`. No nucleotide changes, so the distance between the two views is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.core.errors import BadInputError, UsageError
from phylocli.views.base.contracts import Tokens

KIND = "transform"
ALPHABETS = ("dna",)
DISTANCE = "0"


class Flank:
    """Keeps the site and a random number of nucleotides on each side, sampled uniformly and independently.

    Args:
        context: number of nucleotides on either side of the site in the input.
        min_flank, max_flank: minimum and maximum number kept; by default 0 to all. A negative number removes that many from
        the site itself, of which at least one nucleotide remains.
    """

    expected_distance = 0.0

    def __init__(self, context: int = 0, min_flank: int = 0, max_flank: int | None = None) -> None:
        self.context, self.least = int(context), int(min_flank)
        self.most = self.context if max_flank is None else int(max_flank)
        if self.context < 0 or not self.least <= self.most <= self.context:
            raise UsageError(
                f"the view flank cannot keep {self.least} to {self.most} of {self.context} nucleotides",
                fix="set context to the number in the input, and min_flank ≤ max_flank ≤ context",
            )

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the kept part.

        Raises:
            BadInputError: the sequence is not longer than its two flanks.
        """
        length = len(tokens)
        if length <= 2 * self.context:
            raise BadInputError(
                f"a sequence of {length} nucleotides contains no site between two flanks of {self.context}",
                fix="give the sites with their surroundings, or a smaller flank.context",
            )
        left, right = rng.integers(self.least, self.most + 1, 2).tolist()
        start, end = self.context - left, length - self.context + right
        if start >= end:  # more was removed than the site has
            start = min(max(start, self.context), length - self.context - 1)
            end = start + 1
        return tokens[start:end]


make = Flank
