"""Two spans of one sequence, near each other: a longer anchor and a shorter one that overlaps, adjoins or lies within it.

After DeCLUTR (Giorgi et al., ACL 2021): lengths from Beta distributions, Beta(4, 2) for the anchor and Beta(2, 4) for the
other, the other's start uniform from one length before the anchor to its end. No residue changes, so the distance is 0.
"""

from __future__ import annotations

import numpy as np

from phylocli.errors import UsageError
from phylocli.formats.family import Family
from phylocli.views._base import Pairs, Tokens, member_tokens

KIND = "source"


class _Prepared:
    def __init__(self, view: Spans, tokens: list[Tokens]) -> None:
        self.view, self.tokens = view, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        chosen = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        anchor_share, other_share = rng.beta(4, 2, n).tolist(), rng.beta(2, 4, n).tolist()
        places = rng.random((n, 2)).tolist()
        a: list[Tokens] = []
        b: list[Tokens] = []
        for tokens, long, short, (x, y) in zip(chosen, anchor_share, other_share, places, strict=True):
            length = len(tokens)
            low, high = min(self.view.min_length, length), min(self.view.max_length, length)
            anchor, other = low + round(long * (high - low)), low + round(short * (high - low))
            start = int(x * (length - anchor + 1))
            first, last = max(0, start - other), min(length - other, start + anchor)
            begin = first + int(y * (last - first + 1))
            a.append(tokens[start : start + anchor])
            b.append(tokens[begin : begin + other])
        return a, b, np.zeros(n)


class Spans:
    """Draws members uniformly, and two spans of each.

    Args:
        min_length, max_length: of a span, in residues; shorter sequences bound them.
    """

    def __init__(self, min_length: int = 16, max_length: int = 512) -> None:
        self.min_length, self.max_length = int(min_length), int(max_length)
        if not 1 <= self.min_length <= self.max_length:
            raise UsageError(
                f"the view spans cannot draw {self.min_length} to {self.max_length} residues",
                fix="give 1 ≤ min_length ≤ max_length",
            )

    def prepare(self, family: Family) -> _Prepared:
        """Return the family ready for drawing."""
        return _Prepared(self, list(member_tokens(family).values()))


def make(min_length: int = 16, max_length: int = 512) -> Spans:
    """Return the view; see `Spans`."""
    return Spans(min_length, max_length)
