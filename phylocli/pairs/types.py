"""Sampled pairs, and pools of pairs to sample from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.pairs.patristic import Floats, Ints

CHUNK_ROWS = 100_000


@dataclass
class Draw:
    """Pairs of tips i < j with their distances, in random order unless said otherwise; shapes (n,).

    `relation` is an index of `relations.RELATIONS`; None before it is determined.
    """

    i: Ints
    j: Ints
    distance: Floats
    relation: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.i)

    def part(self, which: slice | Ints) -> Draw:
        """Return the pairs at these positions."""
        relation = None if self.relation is None else self.relation[which]
        return Draw(self.i[which], self.j[which], self.distance[which], relation)

    @classmethod
    def joined(cls, draws: Sequence[Draw]) -> Draw:
        """Return the concatenation of several draws."""
        if not draws:
            nothing = np.empty(0, dtype=np.int64)
            return cls(nothing, nothing, np.empty(0))
        if len(draws) == 1:
            return draws[0]
        return cls(*(np.concatenate([getattr(d, name) for d in draws]) for name in ("i", "j", "distance")))


class Pool(Protocol):
    """The pairs of one family that may be sampled.

    Attributes:
        total: number of distinct pairs.
        weight: the family's weight if a scheme first chooses a family.
    """

    total: int
    weight: float

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Sample n pairs (without replacement at most `total`), in random order: any first k of them are a sample of k."""

    def chunks(self) -> Iterator[Draw]:
        """Yield every pair once, in a fixed order, at most `CHUNK_ROWS` at a time."""
