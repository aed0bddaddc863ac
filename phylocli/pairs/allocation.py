"""The number of pairs per family, decided in one pass over the families.

About `n` pairs are held at any time, so a stream of 25,000 families is read once and in bounded memory. The pairs sampled
from a pool are in random order, so discarding some means keeping the first ones.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.pairs.sampler import distinct_integers
from phylocli.pairs.types import Draw, Pool


class Allocation(Protocol):
    """Distributes n samples over families as they are added."""

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Add the next family and return the pairs to hold of it."""

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        """Return the number of pairs of each family to keep, shape (families,); `final` if there are no more families."""


class _Slots:
    """n slots, each owned by a family; a new family takes over some of them."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.families = 0
        self.owner = np.full(n, -1, dtype=np.int64)

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        return np.bincount(self.owner[self.owner >= 0], minlength=self.families)


class ByPairs(_Slots):
    """All pairs of all families are equally likely, without replacement.

    Among n pairs sampled from all families so far, the number of pairs from the newest family is hypergeometric, and the
    rest are a uniform choice among the pairs held before (reservoir sampling by whole families).
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.seen = 0

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Add the next family and return the pairs to hold of it."""
        filled, size = min(self.n, self.seen), min(self.n, self.seen + pool.total)
        new = hypergeometric(pool.total, self.seen, size, rng)
        replaced = new - (size - filled)
        if replaced:
            self.owner[distinct_integers(filled, replaced, rng)] = self.families
        self.owner[filled:size] = self.families
        self.seen += pool.total
        self.families += 1
        return pool.draw(new, rng)


class ByWeight(_Slots):
    """Each of n samples chooses a family with probability proportional to its weight, independently of the others."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.weight = 0.0

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Add the next family and return the pairs to hold of it."""
        self.weight += pool.weight
        moved = int(rng.binomial(self.n, pool.weight / self.weight)) if pool.weight > 0 else 0
        self.owner[distinct_integers(self.n, moved, rng)] = self.families
        self.families += 1
        return pool.draw(moved, rng)


class Proportional:
    """The number of pairs of each family is proportional to its weight; if one has fewer, the others make up for it.

    The level to which families are filled only decreases as families are added, so enough pairs are always held.

    Args:
        n: number of samples.
        equal: all families have equal weights; else those of their pools.
        replace: a family that has any pairs has unlimited pairs.
    """

    def __init__(self, n: int, *, equal: bool, replace: bool = False) -> None:
        self.n = n
        self.equal, self.replace = equal, replace
        self.available: list[int] = []
        self.weights: list[float] = []

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Add the next family and return the pairs to hold of it."""
        self.available.append(self.n if self.replace and pool.total else pool.total)
        self.weights.append(1.0 if self.equal else pool.weight)
        return pool.draw(int(self._at_most()[-1]), rng)

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        """Return the number of pairs of each family to keep."""
        if not final:
            return self._at_most()
        return apportion(np.array(self.available, dtype=np.int64), np.array(self.weights), self.n, rng)

    def _at_most(self) -> npt.NDArray[np.int64]:
        available, weights = np.array(self.available, dtype=np.int64), np.array(self.weights)
        level = water_level(available, weights, self.n)
        return np.minimum(available, np.ceil(np.minimum(level * weights, available)).astype(np.int64) + 1)


def water_level(available: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], n: int) -> float:
    """Return the level λ at which min(available, λ · weight) sums to n; infinite if less than n is available in total."""
    use = (available > 0) & (weights > 0)
    have, weight = available[use].astype(np.float64), weights[use]
    if have.sum() <= n:
        return float("inf")
    full_at = have / weight
    order = np.argsort(full_at)
    # With the first k families full, the level of the others is (n − pairs of those) / (weight of the others).
    given = np.cumsum(have[order]) - have[order]
    open_weight = np.cumsum(weight[order][::-1])[::-1]
    level = (n - given) / open_weight
    return float(level[np.argmax(level <= full_at[order])])


def apportion(
    available: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], n: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return integers proportional to weights that sum to n, or to the total available, none larger than what is available.

    Remainders after rounding down go to the largest fractional parts; ties are broken at random.
    """
    level = water_level(available, weights, n)
    exact = np.where(weights > 0, np.minimum(available, np.where(weights > 0, level, 0) * weights), 0.0)
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    left = min(n, int(available[weights > 0].sum())) - int(sizes.sum())
    if left > 0:
        room = np.flatnonzero((sizes < available) & (weights > 0))
        room = rng.permutation(room)
        remainder = np.round(exact[room] - sizes[room], 9)
        sizes[room[np.argsort(-remainder, kind="stable")[:left]]] += 1
    return sizes


def hypergeometric(good: int, bad: int, size: int, rng: np.random.Generator) -> int:
    """Return the number of good items among `size` items sampled without replacement from good and bad ones."""
    if size == 0 or good == 0:
        return 0
    if bad == 0:
        return size
    if good < 10**9 and bad < 10**9:  # numpy's limit
        return int(rng.hypergeometric(good, bad, size))
    return int((distinct_integers(good + bad, size, rng) < good).sum())
