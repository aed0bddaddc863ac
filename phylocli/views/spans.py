"""Spans of one sequence that are close to each other: a longer anchor and shorter spans that overlap, adjoin or are within
it.

After DeCLUTR (Giorgi et al., ACL 2021): lengths are distributed as Beta(4, 2) for the anchor and Beta(2, 4) for the others,
whose starts are uniform from one length before the anchor to its end. A pair is the anchor and one other span; an objective
that uses all views gets the anchor and `positives` others. No residue changes, so the distance is 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError
from phylocli.formats.family import Family
from phylocli.views.base.contracts import Pairs, Tokens, member_tokens

KIND = "source"
DISTANCE = "0"


class _Prepared:
    def __init__(self, view: Spans, tokens: list[Tokens]) -> None:
        self.view, self.tokens = view, tokens

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        (a, b), distance = self._spans(n, 1, rng)
        return a, b, distance

    def draw_all(self, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        return self._spans(n, self.view.positives, rng)

    def _spans(self, n: int, positives: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
        chosen = [self.tokens[k] for k in rng.integers(0, len(self.tokens), n).tolist()]
        anchor_share, other_share = rng.beta(4, 2, n).tolist(), rng.beta(2, 4, (n, positives)).tolist()
        places = rng.random((n, 1 + positives)).tolist()
        found: list[list[Tokens]] = [[] for _ in range(1 + positives)]
        for tokens, long, short, (at, *others) in zip(chosen, anchor_share, other_share, places, strict=True):
            length = len(tokens)
            low, high = min(self.view.min_length, length), min(self.view.max_length, length)
            anchor = low + round(long * (high - low))
            start = int(at * (length - anchor + 1))
            found[0].append(tokens[start : start + anchor])
            for spans, share, place in zip(found[1:], short, others, strict=True):
                other = low + round(share * (high - low))
                first, last = max(0, start - other), min(length - other, start + anchor)
                begin = first + int(place * (last - first + 1))
                spans.append(tokens[begin : begin + other])
        return found, np.zeros(n)


class Spans:
    """Samples members uniformly, and spans of each.

    Args:
        min_length, max_length: of a span, in residues; limited by shorter sequences.
        positives: number of spans in addition to the anchor if all views are used.
    """

    def __init__(self, min_length: int = 16, max_length: int = 512, positives: int = 2) -> None:
        self.min_length, self.max_length, self.positives = int(min_length), int(max_length), int(positives)
        if self.positives < 1:
            raise UsageError(f"the view spans cannot use {positives} positives", fix="give at least 1")
        if not 1 <= self.min_length <= self.max_length:
            raise UsageError(
                f"the view spans cannot use lengths from {self.min_length} to {self.max_length} residues",
                fix="give 1 ≤ min_length ≤ max_length",
            )

    def prepare(self, family: Family) -> _Prepared:
        """Return the prepared family."""
        return _Prepared(self, list(member_tokens(family).values()))


make = Spans
