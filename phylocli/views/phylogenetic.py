"""Two members of a family at a chosen distance in its tree.

Evolution itself is the augmentation: it has tried these changes and kept the function. The distance between the two views
is their patristic distance, exact in the family's tree.
"""

from __future__ import annotations

import math

import numpy as np

from phylocli.formats.family import Family
from phylocli.pairs import EmptyBandError, PairSampler
from phylocli.pairs.draw import sampler_of
from phylocli.views._base import Pairs, Tokens, check_band, member_tokens

KIND = "source"


class _Prepared:
    def __init__(self, sampler: PairSampler, tokens: list[Tokens], lo: float, hi: float) -> None:
        self.sampler, self.tokens, self.lo, self.hi = sampler, tokens, lo, hi

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        i, j, distance = self.sampler.draw(n, self.lo, self.hi, rng, replace=True)
        # The sampler's pairs are unordered, i < j in the tree's order; which of the two comes first is decided here.
        swap = rng.random(n) < 0.5
        first, second = np.where(swap, j, i).tolist(), np.where(swap, i, j).tolist()
        tokens = self.tokens
        return [tokens[k] for k in first], [tokens[k] for k in second], distance


class Phylogenetic:
    """Draws pairs of members uniformly, with replacement, from all whose patristic distance lies in [min_dist, max_dist].

    Args:
        min_dist, max_dist: the band, ends included, expected substitutions per site.
    """

    def __init__(self, min_dist: float = 0.0, max_dist: float = math.inf) -> None:
        self.lo, self.hi = check_band(min_dist, max_dist, "phylogenetic")

    def prepare(self, family: Family) -> _Prepared:
        """Return the family ready for drawing.

        Raises:
            EmptyBandError: no two members lie in the band (a trainer may pass such a family over).
            BadInputError: no tree, one without branch lengths, or one member only.
        """
        tree = family.tree()
        tokens = member_tokens(family)
        sampler = sampler_of(family.label, tree)
        if sampler.count(self.lo, self.hi) == 0:
            raise EmptyBandError(
                f"{family.label}: no two members lie {self.lo:g} to {self.hi:g} substitutions per site apart",
                why=sampler.describe(),
            )
        return _Prepared(sampler, [tokens[name] for name in tree.tip_names()], self.lo, self.hi)


def make(min_dist: float = 0.0, max_dist: float = math.inf) -> Phylogenetic:
    """Return the view; see `Phylogenetic`."""
    return Phylogenetic(min_dist, max_dist)
