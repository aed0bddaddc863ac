"""The same sequence twice, the starting point of transforms.

The distance between the two views is 0 before any transform.
"""

from __future__ import annotations

import numpy as np

from phylocli.formats.family import Family
from phylocli.views.base.contracts import Pairs, Tokens, member_tokens

KIND = "source"
DISTANCE = "0"


class _Prepared:
    def __init__(self, tokens: list[Tokens]) -> None:
        self.tokens = tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        chosen = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        return chosen, list(chosen), np.zeros(n)


class Identity:
    """Samples members uniformly, with replacement, each paired with itself."""

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family."""
        return _Prepared(list(member_tokens(family).values()))


make = Identity
