"""Sampling schemes within one family, each as a pool with a number of pairs and a method to sample from them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from phylocli.pairs.allocation import apportion
from phylocli.pairs.sampler import PairSampler, distinct_integers
from phylocli.pairs.types import CHUNK_ROWS, Draw, Pool

LISTED_UP_TO = 4_000_000
"""Maximum number of pairs in a band that are listed completely if a scheme needs it (100 MB)."""
LOG_SLICES = 20
LOG_DECADES = 3


class UniformPool:
    """All pairs of the band are equally likely."""

    def __init__(self, sampler: PairSampler, lo: float, hi: float, *, replace: bool = False) -> None:
        self.sampler, self.lo, self.hi, self.replace = sampler, lo, hi, replace
        self.total = sampler.count(lo, hi)
        self.weight = float(self.total)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs."""
        if n == 0 or self.total == 0:
            return Draw.joined([])
        return Draw(*self.sampler.draw(n, self.lo, self.hi, rng, self.replace))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        for start in range(0, self.total, CHUNK_ROWS):
            ranks = np.arange(start, min(start + CHUNK_ROWS, self.total))
            yield Draw(*self.sampler.unrank(self.lo, self.hi, ranks))


class ListedPool:
    """All pairs of a list are equally likely.

    Args:
        listed: the pairs; if they are a uniform sample, `total` is the number of pairs sampled from.
    """

    def __init__(self, listed: Draw, *, replace: bool = False, total: int | None = None) -> None:
        self.listed, self.replace = listed, replace
        self.total = len(listed) if total is None else total
        self.is_sample = total is not None
        self.weight = float(self.total)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs."""
        if n == 0 or len(self.listed) == 0:
            return Draw.joined([])
        if self.replace:
            return self.listed.part(rng.integers(0, len(self.listed), n))
        return self.listed.part(distinct_integers(len(self.listed), min(n, len(self.listed)), rng))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        for start in range(0, len(self.listed), CHUNK_ROWS):
            yield self.listed.part(slice(start, start + CHUNK_ROWS))


class LogDistancePool:
    """Distances spread evenly on a logarithmic scale.

    The band is divided into 20 slices of equal ratio, from the larger of its lower end and a thousandth of its top, up to
    its top (the smaller of its upper end and the largest distance of the family). All slices contribute equally many pairs
    (if one has fewer, the others make up for it); within a slice every pair is equally likely. Pairs below a thousandth of
    the top, including duplicates, are never sampled.
    """

    def __init__(self, slices: list[Pool]) -> None:
        self.slices = slices
        self.total = sum(pool.total for pool in slices)
        self.weight = float(self.total)
        self.replace = any(getattr(pool, "replace", False) for pool in slices)

    @staticmethod
    def edges(lo: float, hi: float, diameter: float) -> list[tuple[float, float]]:
        """Return the slices, both ends included; none if the family has no positive distance."""
        top = min(hi, diameter)
        if top <= 0 or lo > top:
            return []
        low = max(lo, top * 10.0**-LOG_DECADES)
        if low == top:
            return [(low, top)]
        edges = np.geomspace(low, top, LOG_SLICES + 1)
        edges[0], edges[-1] = low, top
        below = np.nextafter(edges[1:], -np.inf)
        below[-1] = top
        return list(zip(edges[:-1].tolist(), below.tolist(), strict=True))

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs."""
        available = np.array([n if self.replace and p.total else p.total for p in self.slices], dtype=np.int64)
        sizes = apportion(available, np.ones(len(available)), n, rng)
        drawn = Draw.joined([pool.draw(int(size), rng) for pool, size in zip(self.slices, sizes, strict=True)])
        return drawn.part(rng.permutation(len(drawn)))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        for pool in self.slices:
            yield from pool.chunks()


class PerSequencePool:
    """First a sequence, uniformly among those with a partner in the band; then one of its partners, uniformly.

    A pair (u, v) thus has the probability (1/p(u) + 1/p(v)) / m, where p is the number of partners and m the number of
    sequences that have one. Without replacement, pairs are sampled one after another and duplicates discarded; with all
    pairs listed, this is sampling by exponential keys (Efraimidis & Spirakis, Information Processing Letters 97:181, 2006).
    """

    def __init__(self, listed: Draw, n_tips: int, *, replace: bool = False) -> None:
        self.listed, self.replace = listed, replace
        self.total = len(listed)
        partners = np.bincount(listed.i, minlength=n_tips) + np.bincount(listed.j, minlength=n_tips)
        self.weight = float((partners > 0).sum())
        self._pair_weight = 1.0 / partners[listed.i] + 1.0 / partners[listed.j] if self.total else np.empty(0)
        self._running = np.cumsum(self._pair_weight)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs."""
        if n == 0 or self.total == 0:
            return Draw.joined([])
        if self.replace:
            at = np.searchsorted(self._running, rng.random(n) * self._running[-1], side="right")
            return self.listed.part(np.minimum(at, self.total - 1))
        n = min(n, self.total)
        keys = rng.exponential(size=self.total) / self._pair_weight
        first = np.argpartition(keys, n - 1)[:n]
        return self.listed.part(first[np.argsort(keys[first])])

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        yield from ListedPool(self.listed).chunks()


class PerSequenceRowPool:
    """The scheme of `PerSequencePool` for bands too large to list: one row of distances per sampled sequence, O(n) each."""

    def __init__(self, sampler: PairSampler, lo: float, hi: float, *, replace: bool = False) -> None:
        self.sampler, self.lo, self.hi, self.replace = sampler, lo, hi, replace
        self.total = sampler.count(lo, hi)
        self._have_partner = np.flatnonzero(sampler.partners(lo, hi))
        self.weight = float(len(self._have_partner))

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs."""
        if self.replace:
            return self._with_replacement(n, rng)
        if 4 * n > self.total:
            listed = Draw.joined(list(self.chunks()))
            return PerSequencePool(listed, self.sampler.n_tips).draw(n, rng)
        found = Draw.joined([])
        while len(found) < n:
            found = Draw.joined([found, self._with_replacement(n - len(found) + 16, rng)])
            _, first = np.unique(found.i * self.sampler.n_tips + found.j, return_index=True)
            found = found.part(np.sort(first))
        return found.part(np.arange(n))

    def _with_replacement(self, n: int, rng: np.random.Generator) -> Draw:
        if n == 0:
            return Draw.joined([])
        tip = self._have_partner[rng.integers(0, len(self._have_partner), n)]
        fraction = rng.random(n)
        partner = np.empty(n, dtype=np.int64)
        every = np.arange(self.sampler.n_tips)
        order = np.argsort(tip, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(tip[order]) > 0, True])
        for start, end in pairwise(starts.tolist()):
            places = order[start:end]
            own = int(tip[places[0]])
            distance = self.sampler.distance(np.full(len(every), own), every)
            inside = (distance >= self.lo) & (distance <= self.hi)
            inside &= self.sampler.qualifies(np.full(len(every), own), every)
            inside[own] = False
            candidates = np.flatnonzero(inside)
            partner[places] = candidates[(fraction[places] * len(candidates)).astype(np.int64)]
        i, j = np.minimum(tip, partner), np.maximum(tip, partner)
        return Draw(i, j, self.sampler.distance(i, j))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        yield from UniformPool(self.sampler, self.lo, self.hi).chunks()


def band_pool(sampler: PairSampler, band: tuple[float, float], scheme: str, *, replace: bool = False) -> Pool:
    """Return a family's pairs in a band, to be sampled with a sampling scheme of `SamplingConfig`."""
    if scheme == "log-distance":
        slices = LogDistancePool.edges(*band, sampler.tree.diameter())
        return LogDistancePool([UniformPool(sampler, lo, hi, replace=replace) for lo, hi in slices])
    plain = UniformPool(sampler, *band, replace=replace)
    if scheme != "per-sequence":
        return plain
    if plain.total > LISTED_UP_TO:
        return PerSequenceRowPool(sampler, *band, replace=replace)
    return PerSequencePool(Draw.joined(list(plain.chunks())), sampler.n_tips, replace=replace)
