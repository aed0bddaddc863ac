"""How many pairs each family gives, decided in one pass over families of which only those seen so far are known.

About `n` pairs are held at any time, so a stream of 25,000 families is read once and in bounded memory. A pool's draw is in
random order, so giving pairs back means keeping the first few of a draw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from phylocli.pairs.sampler import distinct_integers

if TYPE_CHECKING:
    from phylocli.pairs.laws import Draw, Pool


class Shares(Protocol):
    """Divides n draws among families as they come."""

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Take the next family in and return the pairs to hold of it."""

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        """Return how many of each family's pairs to keep, shape (families,); `final` when no family is to come."""


class _Slots:
    """n places, each owned by a family; a new family takes some over."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.families = 0
        self.owner = np.full(n, -1, dtype=np.int64)

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        return np.bincount(self.owner[self.owner >= 0], minlength=self.families)


class ByPairs(_Slots):
    """Every pair of every family equally likely, without replacement.

    Of n pairs drawn from those of all families so far, the number that are of the newest family is hypergeometric, and the
    rest are a uniform choice among the pairs held before (reservoir sampling by whole families).
    """

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.seen = 0

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Take the next family in and return the pairs to hold of it."""
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
    """Each of n draws chooses a family in proportion to its weight, independently of the others."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.weight = 0.0

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Take the next family in and return the pairs to hold of it."""
        self.weight += pool.weight
        moved = int(rng.binomial(self.n, pool.weight / self.weight)) if pool.weight > 0 else 0
        self.owner[distinct_integers(self.n, moved, rng)] = self.families
        self.families += 1
        return pool.draw(moved, rng)


class Equally:
    """As many pairs of one family as of any other; where one has fewer, the others make up for it."""

    def __init__(self, n: int, *, replace: bool = False) -> None:
        self.n = n
        self.replace = replace
        self.available: list[int] = []

    def add(self, pool: Pool, rng: np.random.Generator) -> Draw:
        """Take the next family in and return the pairs to hold of it."""
        self.available.append(self.n if self.replace and pool.total else pool.total)
        return pool.draw(min(self.available[-1], water_level(np.array(self.available), self.n)), rng)

    def sizes(self, rng: np.random.Generator, *, final: bool = False) -> npt.NDArray[np.int64]:
        """Return how many of each family's pairs to keep."""
        available = np.array(self.available, dtype=np.int64)
        return level_out(available, self.n, rng) if final else np.minimum(available, water_level(available, self.n))


def level_out(available: npt.NDArray[np.int64], n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return shares as equal as can be that sum to n, or to all there is; who gives one less is left to chance."""
    level = water_level(available, n)
    sizes = np.minimum(available, level)
    over = int(sizes.sum()) - n
    if over > 0:
        sizes[rng.choice(np.flatnonzero(sizes == level), over, replace=False)] -= 1
    return sizes


def water_level(available: npt.NDArray[np.int64], n: int) -> int:
    """Return the lowest level at which min(available, level), summed over families, reaches n, or else all there is."""
    low, high = 0, int(available.max(initial=0))
    while low < high:
        middle = (low + high) // 2
        if int(np.minimum(available, middle).sum()) >= n:
            high = middle
        else:
            low = middle + 1
    return low


def hypergeometric(good: int, bad: int, size: int, rng: np.random.Generator) -> int:
    """Return how many of `size` items, drawn without replacement from good and bad ones, are good."""
    if size == 0 or good == 0:
        return 0
    if bad == 0:
        return size
    if good < 10**9 and bad < 10**9:  # numpy's limit
        return int(rng.hypergeometric(good, bad, size))
    return int((distinct_integers(good + bad, size, rng) < good).sum())
