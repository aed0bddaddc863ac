"""Exact uniform sampling of tip pairs in a band of patristic distances, without an n × n matrix."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.tree import Tree
from phylocli.pairs.patristic import Floats, Ints, Patristic
from phylocli.pairs.wavelet import WaveletMatrix

SORTED_UP_TO = 512
"""Trees of at most this many tips keep all pairs sorted by distance (at most 131,000, 1.6 MB); sampling is a look-up."""

_CHUNK = 1 << 17  # queries processed at a time, so that working arrays stay in the cache
_BANDS_KEPT = 32


class EmptyBandError(BadInputError):
    """No pair of a family qualifies."""

    def __init__(self, what: str, why: str | None = None, fix: str | None = "choose a wider band of distances") -> None:
        super().__init__(what, why, fix)


def distinct_integers(total: int, n: int, rng: np.random.Generator) -> Ints:
    """Return n distinct integers of 0 … total − 1, every ordered selection equally likely, shape (n,).

    Memory is O(n), never O(total), unless n is more than half of total.
    """
    if n > total:
        raise ValueError(f"{n} different integers below {total} do not exist")
    if 2 * n >= total:
        return rng.permutation(total)[:n]
    # One after another, discarding duplicates: exactly sampling without replacement.
    found = np.empty(0, dtype=np.int64)
    while len(found) < n:
        more = rng.integers(0, total, size=(n - len(found)) + 16, dtype=np.int64)
        found = np.concatenate([found, more])
        _, first = np.unique(found, return_index=True)
        found = found[np.sort(first)]
    return found[:n]


class PairSampler:
    """Samples pairs of tips with patristic distance in a band [lo, hi], ends included, all pairs equally likely.

    Small trees keep the sorted list of all pairs. Large trees keep tips in depth-first order with their depths D below the
    root, and a wavelet matrix over the ranks of D. At every meeting point x each tip u of the smaller side is matched with
    the tips v of the larger side for which lo ≤ D[u] + D[v] − 2·d(x) ≤ hi: a count within a range of positions and a range
    of ranks. At most n/2·log₂ n such queries enumerate all pairs of the band; a sample is a set of random numbers, each
    converted to its pair. Preparation: O(n log n); the first sample in a band: O(n log² n); each pair: O(log n).

    Args:
        tree: branch lengths in expected substitutions per site; missing and negative ones count as 0.
        meeting: only pairs whose lowest common ancestor is one of these nodes, shape (nodes,) (see `relations`); None: all.
        sorted_up_to: maximum number of tips for which all pairs are kept in a list.

    Attributes:
        n_tips: number of tips.
        tree: prepared distances (`Patristic`); tips are numbered in depth-first order, as in `Tree.tip_names()`.

    Raises:
        BadInputError: only one tip, or no branch lengths.

    Examples:
        >>> rows = ["MKVLAAGIVG", "MKVLSAGIVG", "MRVLSAGLVG", "MRILSPGLVG"]
        >>> family = phylocli.Family(["a", "b", "c", "d"], rows, accession="PF1")
        >>> (family,) = phylocli.infer_trees([family])
        >>> phylocli.PairSampler(family.tree).n_tips
        4
    """

    def __init__(
        self,
        tree: Tree | Patristic,
        *,
        meeting: npt.NDArray[np.bool_] | None = None,
        sorted_up_to: int = SORTED_UP_TO,
    ) -> None:
        self.tree = tree if isinstance(tree, Patristic) else Patristic(tree)
        self.meeting = meeting
        self.n_tips = self.tree.n_tips
        self._is_sorted = self.n_tips <= sorted_up_to
        if self._is_sorted:
            self._prepare_sorted()
        else:
            self._prepare_queries()

    def _prepare_sorted(self) -> None:
        i, j = np.triu_indices(self.n_tips, 1)
        distance = self.tree.distance(i, j)
        order = np.argsort(distance, kind="stable")
        order = order[self.qualifies(i[order], j[order])]
        self._sorted = distance[order]
        small = np.min_scalar_type(self.n_tips)
        self._sorted_i, self._sorted_j = i[order].astype(small), j[order].astype(small)

    def _prepare_queries(self) -> None:
        tree = self.tree
        self._by_depth = np.argsort(tree.depth, kind="stable")
        rank = np.empty(self.n_tips, dtype=np.int64)
        rank[self._by_depth] = np.arange(self.n_tips)
        self._sorted_depth = tree.depth[self._by_depth]
        self._wavelet = WaveletMatrix(rank)
        gap = np.arange(1, self.n_tips)
        start, end = tree.merge_start[1:], tree.merge_end[1:]
        left_is_small = gap - start <= end - gap
        small_start, small_end = np.where(left_is_small, start, gap), np.where(left_is_small, gap, end)
        size = small_end - small_start
        # Query q: a tip of the smaller side and the gap whose other side contains its partners.
        self._query_gap = np.repeat(gap, size).astype(np.int32)
        offset = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        self._query_tip = (np.repeat(small_start, size) + offset).astype(np.int32)
        if self.meeting is not None:
            kept = self.meeting[tree.meeting[self._query_gap]]
            self._query_gap, self._query_tip = self._query_gap[kept], self._query_tip[kept]
        self._large_start = np.concatenate([[0], np.where(left_is_small, gap, start)])
        self._large_end = np.concatenate([[0], np.where(left_is_small, end, gap)])
        self._bands: OrderedDict[tuple[float, float], Ints] = OrderedDict()

    @property
    def n_pairs(self) -> int:
        """Number of all pairs that qualify: n·(n − 1)/2 if every pair does."""
        return self.n_tips * (self.n_tips - 1) // 2 if self.meeting is None else self.count(-1.0, np.inf)

    def distance(self, i: npt.ArrayLike, j: npt.ArrayLike) -> Floats:
        """Return the patristic distances of tips i and j, expected substitutions per site, shape (m,)."""
        return self.tree.distance(i, j)

    def qualifies(self, i: Ints, j: Ints) -> npt.NDArray[np.bool_]:
        """Return which pairs have their lowest common ancestor among the nodes `meeting`, shape (m,)."""
        return np.ones(len(i), dtype=bool) if self.meeting is None else self.meeting[self.tree.ancestor(i, j)]

    def count(self, lo: float, hi: float) -> int:
        """Return the number of pairs with lo ≤ distance ≤ hi, exactly."""
        if self._is_sorted:
            first, end = self._slice(lo, hi)
            return end - first
        cumulative = self._band(lo, hi)
        return int(cumulative[-1]) if len(cumulative) else 0

    def unrank(self, lo: float, hi: float, ranks: npt.ArrayLike) -> tuple[Ints, Ints, Floats]:
        """Return the pairs with these numbers among the `count(lo, hi)` pairs of the band.

        Args:
            ranks: shape (m,), each from 0 to count − 1.

        Returns:
            i, j with i < j, and their distances; shapes (m,).
        """
        ranks = np.asarray(ranks, dtype=np.int64)
        if self._is_sorted:
            first, _ = self._slice(lo, hi)
            at = ranks + first
            return self._sorted_i[at].astype(np.int64), self._sorted_j[at].astype(np.int64), self._sorted[at]
        cumulative = self._band(lo, hi)
        query = np.searchsorted(cumulative, ranks, side="right")
        within = ranks - np.where(query > 0, cumulative[query - 1], 0)
        tip = self._query_tip[query].astype(np.int64)
        gap = self._query_gap[query].astype(np.int64)
        left, right = self._large_start[gap], self._large_end[gap]
        below = self._wavelet.count_below(left, right, self._lowest_rank(tip, gap, lo, np.greater_equal))
        partner = self._by_depth[self._wavelet.select(left, right, below + within)]
        i, j = np.minimum(tip, partner), np.maximum(tip, partner)
        return i, j, self._meet_at(tip, partner, gap)

    def draw(
        self, n: int, lo: float, hi: float, rng: np.random.Generator, replace: bool = False
    ) -> tuple[Ints, Ints, Floats]:
        """Sample pairs uniformly from the band, in random order.

        Args:
            n: number of pairs; without replacement, all pairs of the band if there are fewer.
            lo, hi: the band, ends included, expected substitutions per site.
            rng: random number generator.
            replace: whether a pair may be sampled again.

        Returns:
            i, j with i < j, numbers of tips in depth-first order, and their distances; shapes (m,).

        Raises:
            EmptyBandError: no pair is in the band, and n > 0.
        """
        total = self.count(lo, hi)
        if total == 0 and n > 0:
            raise EmptyBandError(f"no pairs with distance {lo:g} to {hi:g}", why=self.describe())
        ranks = rng.integers(0, total, size=n) if replace else distinct_integers(total, min(n, total), rng)
        return self.unrank(lo, hi, ranks)

    def partners(self, lo: float, hi: float) -> Ints:
        """Return the number of partners of each tip in the band, shape (n,)."""
        if self._is_sorted:
            first, end = self._slice(lo, hi)
            i, j = self._sorted_i[first:end], self._sorted_j[first:end]
            return np.bincount(i, minlength=self.n_tips) + np.bincount(j, minlength=self.n_tips)
        counts = np.diff(self._band(lo, hi), prepend=0)
        found = np.zeros(self.n_tips, dtype=np.int64)
        np.add.at(found, self._query_tip, counts)
        # The tips counted by a query on the larger side are partners of its tip, and vice versa.
        for tip, gap in self._query_chunks():
            left, right = self._large_start[gap], self._large_end[gap]
            found += self._wavelet.tally_below(left, right, self._lowest_rank(tip, gap, hi, np.greater))
            found -= self._wavelet.tally_below(left, right, self._lowest_rank(tip, gap, lo, np.greater_equal))
        return found

    def ancestor_counts(self, lo: float, hi: float) -> Ints:
        """Return the number of pairs of the band that meet at each node of the tree, shape (nodes,); 0 at tips."""
        if self._is_sorted:
            i, j, _ = self.unrank(lo, hi, np.arange(self.count(lo, hi)))
            return np.bincount(self.tree.ancestor(i, j), minlength=self.tree.n_nodes)
        found = np.zeros(self.tree.n_nodes, dtype=np.int64)
        np.add.at(found, self.tree.meeting, self._per_gap(lo, hi))
        return found

    def capped_ranks(self, lo: float, hi: float, most: int, rng: np.random.Generator) -> Ints:
        """Return the numbers of at most `most` pairs of the band for every ancestor at which pairs meet, shape (m,).

        If more pairs meet there, a uniform sample without replacement is kept. At most `most` · (n − 1) numbers, in the
        order of the ancestors.
        """
        total = self.count(lo, hi)
        if self._is_sorted:
            ranks = rng.permutation(total)
            i, j, _ = self.unrank(lo, hi, ranks)
            ancestor = self.tree.ancestor(i, j)
            # For each pair, the number of preceding pairs of the same ancestor.
            order = np.argsort(ancestor, kind="stable")
            start = np.searchsorted(ancestor[order], ancestor[order], side="left")
            return ranks[order[np.arange(total) - start < most]]
        per_gap = self._per_gap(lo, hi)
        first_rank = np.cumsum(per_gap) - per_gap  # queries are in the order of their gaps
        order = np.argsort(self.tree.meeting, kind="stable")  # gaps by ancestor; nodes with many children have several
        ends = np.cumsum(per_gap[order])
        boundary = np.flatnonzero(np.r_[np.diff(self.tree.meeting[order]) != 0, True])
        chosen: list[Ints] = []
        before = 0
        for end in ends[boundary].tolist():
            number = end - before
            if number > most:
                chosen.append(before + np.sort(distinct_integers(number, most, rng)))
            elif number:
                chosen.append(np.arange(before, end))
            before = end
        if not chosen:
            return np.empty(0, dtype=np.int64)
        places = np.concatenate(chosen)
        at = np.searchsorted(ends, places, side="right")
        gap = order[at]
        return first_rank[gap] + places - (ends[at] - per_gap[gap])

    def quantiles(self, fractions: Sequence[float] | Floats) -> Floats:
        """Return quantiles of the distances of all pairs that qualify, in the shape of `fractions`.

        Exact for trees that keep the sorted list; else from 100,000 uniform pairs with a fixed seed (standard error of the
        fraction at most 0.0016).
        """
        if self._is_sorted:
            return np.quantile(self._sorted, fractions) if len(self._sorted) else np.full(len(fractions), np.nan)
        rng = np.random.default_rng(0)
        if self.meeting is not None:
            total = self.count(-1.0, np.inf)
            ranks = rng.integers(0, total, 100_000 if total else 0)
            return np.quantile(self.unrank(-1.0, np.inf, ranks)[2], fractions) if total else np.full(len(fractions), np.nan)
        i = rng.integers(0, self.n_tips, 100_000)
        j = rng.integers(0, self.n_tips - 1, 100_000)
        return np.quantile(self.distance(i, j + (j >= i)), fractions)

    def describe(self) -> str:
        """Return the range and the quartiles of the distances, for messages."""
        if not self.n_pairs:
            return f"no two of the {self.n_tips} members have this relation"
        low, median, high = self.quantiles([0.25, 0.5, 0.75])
        top = self.tree.diameter()
        return (
            f"the {self.n_tips} members are up to {top:.3g} apart: "
            f"a quarter of all pairs below {low:.3g}, half below {median:.3g}, three quarters below {high:.3g}"
        )

    def _slice(self, lo: float, hi: float) -> tuple[int, int]:
        first = int(np.searchsorted(self._sorted, lo, side="left"))
        return first, max(first, int(np.searchsorted(self._sorted, hi, side="right")))

    def _meet_at(self, tip: Ints, partner: Ints, gap: Ints) -> Floats:
        # The same operations in the same order as in `Patristic.distance`, so that both agree to the last bit.
        return (self.tree.depth[tip] + self.tree.depth[partner]) - 2.0 * self.tree.node_depth(self.tree.meeting[gap])

    def _lowest_rank(self, tip: Ints, gap: Ints, bound: float, reaches: np.ufunc) -> Ints:
        """Return, per query, the lowest rank of depth at which a partner's distance reaches the bound, shape (q,).

        `reaches` is `>=` (the lower end of the band) or `>` (beyond its upper end).
        """
        own = self.tree.depth[tip]
        away = 2.0 * self.tree.node_depth(self.tree.meeting[gap])
        depths, n = self._sorted_depth, self.n_tips
        side: Literal["left", "right"] = "left" if reaches is np.greater_equal else "right"
        rank = np.searchsorted(depths, bound - own + away, side=side)
        # Due to rounding, the guess can be next to the rank at which the computed distance crosses the bound. Rounding is
        # monotone, so a bisection on the distance as computed elsewhere resolves these few cases.
        at, before = np.minimum(rank, n - 1), np.maximum(rank - 1, 0)
        wrong = (rank < n) & ~reaches((own + depths[at]) - away, bound)
        wrong |= (rank > 0) & reaches((own + depths[before]) - away, bound)
        unsure = np.flatnonzero(wrong)
        if len(unsure):
            own, away = own[unsure], away[unsure]
            low, high = np.zeros(len(unsure), dtype=np.int64), np.full(len(unsure), n, dtype=np.int64)
            for _ in range(n.bit_length()):
                middle = np.minimum((low + high) // 2, n - 1)
                open_ = low < high
                yes = reaches((own + depths[middle]) - away, bound)
                high = np.where(open_ & yes, middle, high)
                low = np.where(open_ & ~yes, middle + 1, low)
            rank[unsure] = low
        return rank

    def _per_gap(self, lo: float, hi: float) -> Ints:
        found = np.zeros(self.n_tips, dtype=np.int64)
        np.add.at(found, self._query_gap, np.diff(self._band(lo, hi), prepend=0))
        return found

    def _query_chunks(self) -> Iterator[tuple[Ints, Ints]]:
        for start in range(0, len(self._query_tip), _CHUNK):
            part = slice(start, start + _CHUNK)
            yield self._query_tip[part].astype(np.int64), self._query_gap[part].astype(np.int64)

    def _band(self, lo: float, hi: float) -> Ints:
        """Return the cumulative sum over queries of the pairs in the band, shape (queries,)."""
        key = (float(lo), float(hi))
        if key in self._bands:
            self._bands.move_to_end(key)
            return self._bands[key]
        counts = np.zeros(len(self._query_tip), dtype=np.int64)
        if lo <= hi and len(counts):
            parts = []
            for tip, gap in self._query_chunks():
                left, right = self._large_start[gap], self._large_end[gap]
                first = self._lowest_rank(tip, gap, lo, np.greater_equal)
                end = self._lowest_rank(tip, gap, hi, np.greater)
                parts.append(self._wavelet.count_below(left, right, end) - self._wavelet.count_below(left, right, first))
            counts = np.concatenate(parts)
        self._bands[key] = np.cumsum(counts)
        if len(self._bands) > _BANDS_KEPT:
            self._bands.popitem(last=False)
        return self._bands[key]
