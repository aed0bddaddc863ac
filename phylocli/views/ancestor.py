"""A member against a reconstructed ancestor: the most probable sequence at an inner node of the family's tree.

The ancestor is the marginal maximum-likelihood reconstruction under LG+Γ (Yang, Kumar & Nei, Genetics 141:1641, 1995) on the
match columns; the presence of a residue in a column is reconstructed in the same way, by a two-state process of presence and
absence. Reconstructions vary less than real ancestors, since each column has its most probable state. The distance between
the two views is the path length from the inner node to the member. Which inner nodes are ancestors depends on the root of
the tree.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import FIRST_RESIDUE, MISSING, encode_states
from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.formats.tree import Tree
from phylocli.pairs import EmptyBandError
from phylocli.pairs.sampling import sampler_of
from phylocli.tree.models import discrete_gamma, substitution_model
from phylocli.views.base.ancestral_states import Floats, marginal_posteriors
from phylocli.views.base.contracts import Pairs, Tokens, check_band, check_distance, member_tokens, require_aligned

KIND = "source"
ALPHABETS = ("protein",)
DISTANCE = "path length between the two in the tree"


class Lineages:
    """All (ancestor, tip) pairs of a tree whose path length is in a band, numbered without listing them.

    Lengths are not negative, so the ancestors of a tip in the band are consecutive nodes on the path to the root: two
    searches with doubling steps find its ends.

    Args:
        tree: with non-negative lengths.
        lo, hi: the band, ends included.
    """

    def __init__(self, tree: Tree, lo: float, hi: float) -> None:
        self._up = [np.maximum(tree.parent, 0)]
        level = np.zeros(len(tree), dtype=np.int64)
        for node, parent in enumerate(tree.parent.tolist()):
            if node:
                level[node] = level[parent] + 1
        while 1 << len(self._up) <= int(level.max()):
            self._up.append(self._up[-1][self._up[-1]])
        depth = tree.root_distances()
        self.tips = tree.tips()
        self._first = np.maximum(self._steps(depth, level, lo, strict=True) + 1, 1)
        last = self._steps(depth, level, hi, strict=False)
        self._running = np.cumsum(np.maximum(last - self._first + 1, 0))
        self.total = int(self._running[-1])
        self._depth = depth

    def _steps(self, depth: Floats, level: npt.NDArray[np.int64], bound: float, *, strict: bool) -> npt.NDArray[np.int64]:
        """Return how many steps up from each tip the path length stays below the bound (or at it, unless strict)."""
        node, steps = self.tips.copy(), np.zeros(len(self.tips), dtype=np.int64)
        for power in range(len(self._up) - 1, -1, -1):
            higher = self._up[power][node]
            path = depth[self.tips] - depth[higher]
            goes = (level[self.tips] - steps >= 1 << power) & ((path < bound) if strict else (path <= bound))
            node = np.where(goes, higher, node)
            steps += np.where(goes, 1 << power, 0)
        if strict:  # the tip itself has length 0, which may not be below the bound
            return np.where(bound > 0, steps, -1)
        return steps

    def unrank(self, ranks: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats]:
        """Return ancestors (nodes), tips (in depth-first order) and path lengths of numbered pairs, shapes (m,)."""
        tip = np.searchsorted(self._running, ranks, side="right")
        within = ranks - np.where(tip > 0, self._running[tip - 1], 0)
        steps = self._first[tip] + within
        node = self.tips[tip]
        for power, up in enumerate(self._up):
            node = np.where((steps >> power) & 1 == 1, up[node], node)
        return node, tip, self._depth[self.tips[tip]] - self._depth[node]


class _Prepared:
    def __init__(self, lineages: Lineages, ancestors: dict[int, Tokens], members: list[Tokens]) -> None:
        self.lineages, self.ancestors, self.members = lineages, ancestors, members

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        node, tip, distance = self.lineages.unrank(rng.integers(0, self.lineages.total, n))
        swapped = (rng.random(n) < 0.5).tolist()
        a: list[Tokens] = []
        b: list[Tokens] = []
        for x, u, swap in zip(node.tolist(), tip.tolist(), swapped, strict=True):
            first, second = self.ancestors[x], self.members[u]
            a.append(second if swap else first)
            b.append(first if swap else second)
        return a, b, distance


class Ancestor:
    """Samples uniformly, with replacement, from all pairs of a member and an inner node above it at a path length in a band.

    Args:
        min_dist, max_dist: the band, ends included, expected substitutions per site.
        model, alpha: `lg`, `wag`, `jtt` or `poisson`, and the shape of Γ (four categories; infinite for equal rates).
        gap_rate: presence/absence changes of a column per substitution.
    """

    def __init__(
        self,
        min_dist: float = 0.0,
        max_dist: float = math.inf,
        model: str = "lg",
        alpha: float = 1.0,
        gap_rate: float = 0.1,
    ) -> None:
        self.lo, self.hi = check_band(min_dist, max_dist, "ancestor")
        self.model = substitution_model(model)
        self.rates = discrete_gamma(float(alpha))
        self.gap_rate = check_distance(gap_rate, "gap_rate")
        if self.gap_rate == 0:
            raise UsageError("the view ancestor cannot explain gaps at a gap_rate of 0", fix="give a number above 0")

    def reconstruct(self, family: Family) -> dict[int, Tokens]:
        """Return the most probable sequence at every inner node of the family's tree, by node; each has at least one
        residue."""
        tree = _cleaned(family.require_tree())
        place = {name: k for k, name in enumerate(family.ids)}
        order = [place[name] for name in tree.tip_names()]
        states = encode_states(family.rows)[:, family.match_columns()][order]
        residues, _ = marginal_posteriors(tree, states, self.model.transition, self.model.frequencies, self.rates)
        absent = (states == MISSING).astype(np.uint8)
        share = float(np.clip(absent.mean(), 1e-3, 1 - 1e-3))
        frequencies = np.array([1 - share, share])
        gaps, _ = marginal_posteriors(tree, absent, _TwoStates(frequencies, self.gap_rate), frequencies, np.ones(1))
        best = residues.argmax(axis=2).astype(np.uint8) + np.uint8(FIRST_RESIDUE)
        present = gaps[:, :, 0] >= 0.5
        present[np.arange(len(present)), gaps[:, :, 0].argmax(axis=1)] = True
        return {int(node): best[node][present[node]] for node in np.flatnonzero(~tree.is_tip)}

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family; takes O(members · columns) time and memory.

        Raises:
            EmptyBandError: no member has an ancestor in the band.
            BadInputError: not aligned, no tree, or no branch lengths.
        """
        require_aligned(family, "ancestor")
        sampler = sampler_of(family.label, family.require_tree())
        tree = _cleaned(family.require_tree())
        lineages = Lineages(tree, self.lo, self.hi)
        if lineages.total == 0:
            raise EmptyBandError(
                f"{family.label}: no member has an ancestor {self.lo:g} to {self.hi:g} substitutions per site above it",
                why=f"the longest path from the root is {sampler.tree.depth.max():.3g}",
            )
        ancestors = self.reconstruct(family)
        tokens = member_tokens(family)
        return _Prepared(lineages, ancestors, [tokens[name] for name in tree.tip_names()])


class _TwoStates:
    """P(t) of a process between presence and absence, with one change per unit of time times `rate`."""

    def __init__(self, frequencies: Floats, rate: float) -> None:
        self.frequencies = frequencies
        self.rate = rate / (2 * frequencies[0] * frequencies[1])

    def __call__(self, time: Floats) -> Floats:
        stay = np.exp(-self.rate * time)[:, None, None]
        return stay * np.eye(2) + (1 - stay) * self.frequencies


def _cleaned(tree: Tree) -> Tree:
    length = np.maximum(np.nan_to_num(tree.length, nan=0.0), 0.0)
    length[0] = 0.0
    return Tree(tree.parent, length, tree.names)


make = Ancestor
