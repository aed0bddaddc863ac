"""Two members of different groups of close homologs: remote homologs, without a tree.

`phylocli families --engine mmseqs` records the group of each member (30 % identity). Groups are sampled first, then a member
of each, so that a large group of near-identical sequences counts as one. Crops of both members overlap in homologous
positions if the family is aligned. In a family without groups each member is a group of its own.

The distance is Kimura's (1983, doi:10.1017/CBO9780511623486): -log(1 - p - p²/5) of the fraction p of different residues at
the aligned positions of the two members.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.pairs import EmptyBandError
from phylocli.views.base.contracts import Pairs, Tokens, check_fraction, member_tokens

KIND = "source"
DISTANCE = "Kimura's, of the aligned positions; not defined without an alignment"
DRAWS_MEMBERS = True  # so its pairs can be replaced by rows of a pairs table

FEWEST_ALIGNED = 20
"""Aligned positions below which the distance is not defined."""

SATURATED = 0.8541
"""Fraction of different residues at which Kimura's distance becomes infinite; a little below, it is about 9."""

Columns = list[npt.NDArray[np.int32]]


def kimura_distance(different: int, aligned: int) -> float:
    """Return Kimura's distance in substitutions per site, NaN for too few aligned positions."""
    if aligned < FEWEST_ALIGNED:
        return math.nan
    p = min(different / aligned, SATURATED - 1e-4)
    return -math.log(1 - p - p * p / 5)


class _Prepared:
    def __init__(self, tokens: list[Tokens], columns: Columns | None, groups: list[list[int]], view: AcrossGroups) -> None:
        self.tokens, self.columns, self.groups, self.view = tokens, columns, groups, view

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        first, second, distances = [], [], np.full(n, np.nan)
        for k in range(n):
            one, two = (self.groups[g] for g in rng.choice(len(self.groups), 2, replace=False))
            a, b = int(rng.choice(one)), int(rng.choice(two))
            (start_a, end_a), (start_b, end_b), distances[k] = self._cropped(a, b, rng)
            first.append(self.tokens[a][start_a:end_a])
            second.append(self.tokens[b][start_b:end_b])
        return first, second, distances

    def _cropped(self, a: int, b: int, rng: np.random.Generator) -> tuple[tuple[int, int], tuple[int, int], float]:
        """Return the crops of two members, and the distance of the members."""
        lengths = len(self.tokens[a]), len(self.tokens[b])
        sizes = [self.view.size(length, rng) for length in lengths]
        places = rng.random(2).tolist()
        free = [int(place * (length - size + 1)) for place, length, size in zip(places, lengths, sizes, strict=True)]
        crops = [(start, start + size) for start, size in zip(free, sizes, strict=True)]
        if self.columns is None:
            return crops[0], crops[1], math.nan
        _, at_a, at_b = np.intersect1d(self.columns[a], self.columns[b], assume_unique=True, return_indices=True)
        different = int((self.tokens[a][at_a] != self.tokens[b][at_b]).sum())
        distance = kimura_distance(different, len(at_a))
        inside = np.flatnonzero((at_a >= crops[0][0]) & (at_a < crops[0][1]))
        if len(inside):  # a position of the first crop, and a crop of the second that holds its homolog
            anchor = int(at_b[int(rng.choice(inside))])
            low, high = max(0, anchor - sizes[1] + 1), min(anchor, lengths[1] - sizes[1])
            start = low + int(places[1] * (high - low + 1))
            crops[1] = start, start + sizes[1]
        return crops[0], crops[1], distance


class AcrossGroups:
    """Samples pairs of members of different groups, with replacement, each cropped at random.

    Args:
        min_fraction: smallest fraction of a member that is kept; the fraction is uniform between it and 1.
        max_length: largest number of residues that is kept.

    Raises:
        UsageError: a value out of range.
    """

    def __init__(self, min_fraction: float = 1.0, max_length: float = math.inf) -> None:
        self.low = check_fraction(min_fraction, "min_fraction", zero=False)
        if not max_length >= 1:
            raise UsageError(f"the view across-groups cannot keep {max_length:g} residues", fix="give max_length ≥ 1")
        self.max_length = max_length

    def size(self, length: int, rng: np.random.Generator) -> int:
        """Return the length of a crop of a member of this length."""
        fraction = self.low + (1 - self.low) * float(rng.random())
        return int(min(length, self.max_length, max(1, math.ceil(fraction * length))))

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family.

        Raises:
            EmptyBandError: fewer than two groups (training may skip such a family).
        """
        tokens = list(member_tokens(family).values())
        codes = family.group_codes()
        codes = np.arange(len(tokens), dtype=np.int32) if codes is None else codes
        groups = [np.flatnonzero(codes == code).tolist() for code in np.unique(codes)]
        if len(groups) < 2:
            raise EmptyBandError(f"{family.label}: no pair across groups", why="its members are all of one group")
        return _Prepared(tokens, family.residue_columns() if family.aligned else None, groups, self)


make = AcrossGroups
