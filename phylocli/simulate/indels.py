"""Insertions and deletions along a tree, and the resulting true alignment.

The model of INDELible (Fletcher & Yang, Mol. Biol. Evol. 26:1879, 2009): in a sequence of L residues, insertions occur at
the rate λ·(L + 1), uniformly over all gaps between residues, and deletions at the rate μ·(L − 1 + mean length), such that
each residue, including those at the ends, is hit equally often by deletions of each length. Rates are per substitution, as
branch lengths are. Lengths follow a truncated power law, P(k) ∝ k^−a (Benner, Cohen & Gonnet, J. Mol. Biol. 229:1065, 1993,
find a ≈ 1.7 between protein pairs), or a geometric distribution. Inserted residues are sampled from the equilibrium
frequencies.

With the mean length m of both, L changes by λ·m·(L + 1) − μ·m·L per unit of time: at equal rates it is nearly constant.
Events that would split a motif, or delete the last residue, are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import PhylocliError, UsageError, unknown_name
from phylocli.formats.tree import Tree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
DISTRIBUTIONS = ("power", "geometric")
MOST_RESIDUES = 50_000
"""Maximum length of a sequence, or four times that of the root: titin, the longest known protein, has 35,000 residues."""


@dataclass(frozen=True)
class IndelModel:
    """Rates and lengths of insertions and deletions.

    Attributes:
        insertion: λ, insertions per site and substitution.
        deletion: μ, deletions per site and substitution.
        distribution: distribution of their lengths: `power` or `geometric`.
        parameter: the exponent a of the power law, or the mean of the (untruncated) geometric distribution.
        longest: maximum length in residues.
        mean: the mean length, residues.
        weights: the probability of each length from 1 on, shape (longest,).

    Raises:
        UsageError: a rate, distribution or parameter out of range.
    """

    insertion: float = 0.01
    deletion: float = 0.01
    distribution: str = "power"
    parameter: float = 1.7
    longest: int = 50
    mean: float = field(init=False, repr=False, compare=False)
    weights: Floats = field(init=False, repr=False, compare=False)
    _laws: tuple[Floats, Floats] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for rate, what in ((self.insertion, "insertions"), (self.deletion, "deletions")):
            if not 0 <= rate < np.inf:
                raise UsageError(f"the rate of {what} must be at least 0, not {rate:g}", fix="it is per substitution")
        if self.distribution not in DISTRIBUTIONS:
            raise unknown_name("unknown distribution of indel lengths", self.distribution, DISTRIBUTIONS)
        if self.longest < 1:
            raise UsageError(f"the longest indel has {self.longest} residues", fix="give 1 or more")
        lengths = np.arange(1, self.longest + 1, dtype=np.float64)
        if self.distribution == "power":
            if not 0 <= self.parameter < np.inf:
                raise UsageError(
                    f"the exponent of indel lengths must be at least 0, not {self.parameter:g}", fix="1.7 is usual"
                )
            weights = lengths**-self.parameter
        else:
            if not 1 <= self.parameter < np.inf:
                raise UsageError(f"the mean indel length must be at least 1, not {self.parameter:g}")
            weights = (1 - 1 / self.parameter) ** (lengths - 1)
        weights /= weights.sum()
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "mean", float(weights @ lengths))
        object.__setattr__(self, "_laws", (np.cumsum(weights), np.cumsum(weights * lengths) / self.mean))

    @property
    def is_off(self) -> bool:
        """Whether all rates are zero."""
        return self.insertion == 0 and self.deletion == 0

    def evolve(
        self,
        sites: Ints,
        time: float,
        rng: np.random.Generator,
        insert: Callable[[int, int], Ints],
        motif: Ints | None = None,
        most: float = np.inf,
    ) -> Ints:
        """Return the sites of a sequence after a given time (the same array if there was no event).

        Args:
            sites: ids of its sites, in order.
            time: branch length, expected substitutions per site.
            rng: random numbers.
            insert: called with the site to the left (−1 at the start) and a length; returns the ids of the new sites.
            motif: the motif of each of the first ids, 0 for none; further ids have none.
            most: maximum length of the sequence in residues.

        Raises:
            PhylocliError: the sequence grows beyond that.
        """
        mean, (lengths, biased) = self.mean, self._laws
        while True:
            size = len(sites)
            insertions, deletions = self.insertion * (size + 1), self.deletion * (size - 1 + mean)
            if insertions + deletions == 0:
                return sites
            if size > most:
                raise PhylocliError(
                    f"a sequence has grown to more than {most:,} residues",
                    why="insertions that outnumber deletions let sequences grow exponentially",
                    fix="lower the rate of insertions, or the depth of the tree",
                )
            time -= rng.exponential(1 / (insertions + deletions))
            if time < 0:
                return sites
            if rng.random() * (insertions + deletions) < insertions:
                length = _draw(lengths, rng)
                place = int(rng.integers(size + 1))
                if not _splits_motif(sites, place, motif):
                    new = insert(int(sites[place - 1]) if place else -1, length)
                    sites = np.concatenate([sites[:place], new, sites[place:]])
            else:
                # A deletion of k residues has L − 1 + k positions, so longer ones are slightly more frequent than P(k).
                cumulative = lengths if rng.random() * (size - 1 + mean) < size - 1 else biased
                length = _draw(cumulative, rng)
                start = int(rng.integers(1 - length, size))
                first, last = max(0, start), min(size, start + length)
                if last - first < size and not _holds_motif(sites[first:last], motif):
                    sites = np.concatenate([sites[:first], sites[last:]])


def _draw(cumulative: Floats, rng: np.random.Generator) -> int:
    found = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return 1 + min(found, len(cumulative) - 1)


def _motif_of(site: int, motif: Ints) -> int:
    return int(motif[site]) if site < len(motif) else 0


def _splits_motif(sites: Ints, place: int, motif: Ints | None) -> bool:
    if motif is None or place in (0, len(sites)):
        return False
    here = _motif_of(int(sites[place - 1]), motif)
    return here > 0 and here == _motif_of(int(sites[place]), motif)


def _holds_motif(sites: Ints, motif: Ints | None) -> bool:
    return motif is not None and bool((motif[sites[sites < len(motif)]] > 0).any())


@dataclass
class Insertion:
    """An insertion: `length` new sites with ids from `first` on, on the branch above `node`."""

    node: int
    first: int
    length: int


class History:
    """The insertions and deletions of a family along its tree.

    Args:
        tree: branch lengths in expected substitutions per site.
        columns: residues at the root.
        model: of insertions and deletions.
        motif: the motif of each residue at the root, 0 for none, shape (columns,).
        rng: random numbers.

    Attributes:
        sites: for each tip, in depth-first order, the ids of its sites; tips without events share arrays.
        insertions: in the order of their ids.
        order: all ids in alignment order, without those that no tip has.
        size: total number of ids.

    Raises:
        PhylocliError: a sequence grows beyond `MOST_RESIDUES`.
    """

    def __init__(self, tree: Tree, columns: int, model: IndelModel, motif: Ints, rng: np.random.Generator) -> None:
        self.insertions: list[Insertion] = []
        self.size = columns
        # The order of the alignment as a linked list: the successor of each id; position 0 is the start.
        self._next = [*range(columns), -1]
        parent, length = tree.parent.tolist(), tree.length.tolist()
        all_sites = [np.arange(columns)] * len(tree)
        for node in range(1, len(parent)):
            self._node = node
            above = all_sites[parent[node]]
            all_sites[node] = model.evolve(above, length[node], rng, self._insert, motif, max(MOST_RESIDUES, 4 * columns))
        self.sites = [all_sites[tip] for tip in tree.tips().tolist()]
        present = np.zeros(self.size, dtype=bool)
        for sites in {id(s): s for s in self.sites}.values():
            present[sites] = True
        order = np.fromiter(self._in_order(), dtype=np.int64, count=self.size)
        self.order = order[present[order]]

    def _insert(self, left: int, length: int) -> Ints:
        first = self.size
        self.insertions.append(Insertion(self._node, first, length))
        self.size += length
        after = self._next[left + 1]
        self._next[left + 1] = first
        self._next += [*range(first + 1, self.size), after]
        return np.arange(first, self.size)

    def _in_order(self) -> Iterator[int]:
        site = self._next[0]
        while site >= 0:
            yield site
            site = self._next[site + 1]
