"""The laws by which pairs of one family are drawn, each as a pool: how many pairs there are, and drawing from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from phylocli.pairs.patristic import Floats, Ints
from phylocli.pairs.sampler import PairSampler, distinct_integers

CHUNK_ROWS = 100_000


@dataclass
class Draw:
    """Pairs of tips i < j with their distances, in random order unless said otherwise; shapes (n,)."""

    i: Ints
    j: Ints
    distance: Floats

    def __len__(self) -> int:
        return len(self.i)

    def part(self, which: slice | Ints) -> Draw:
        """Return the pairs at these places."""
        return Draw(self.i[which], self.j[which], self.distance[which])


class Pool(Protocol):
    """The pairs of one family that may be drawn.

    Attributes:
        total: how many different pairs there are.
        weight: the family's weight where a law first chooses a family.
    """

    total: int
    weight: float

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n pairs (without replacement at most `total`), in random order: any first k of them are a draw of k."""

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once, in a fixed order, at most `CHUNK_ROWS` at a time."""


class UniformPool:
    """Every pair of the band equally likely."""

    def __init__(self, sampler: PairSampler, lo: float, hi: float, *, replace: bool = False) -> None:
        self.sampler, self.lo, self.hi, self.replace = sampler, lo, hi, replace
        self.total = sampler.count(lo, hi)
        self.weight = float(self.total)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n pairs."""
        if n == 0 or self.total == 0:
            return empty_draw()
        return Draw(*self.sampler.draw(n, self.lo, self.hi, rng, self.replace))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        for start in range(0, self.total, CHUNK_ROWS):
            ranks = np.arange(start, min(start + CHUNK_ROWS, self.total))
            yield Draw(*self.sampler.unrank(self.lo, self.hi, ranks))


class ListedPool:
    """Every pair of a list equally likely."""

    def __init__(self, listed: Draw, *, replace: bool = False) -> None:
        self.listed, self.replace = listed, replace
        self.total = len(listed)
        self.weight = float(self.total)

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n pairs."""
        if n == 0 or self.total == 0:
            return empty_draw()
        if self.replace:
            return self.listed.part(rng.integers(0, self.total, n))
        return self.listed.part(distinct_integers(self.total, min(n, self.total), rng))

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once."""
        for start in range(0, self.total, CHUNK_ROWS):
            yield self.listed.part(slice(start, start + CHUNK_ROWS))


def empty_draw() -> Draw:
    """Return no pairs."""
    nothing = np.empty(0, dtype=np.int64)
    return Draw(nothing, nothing, np.empty(0))
