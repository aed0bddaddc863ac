"""Base of the views: their kinds, tokens of a family's members, and checks of parameters."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import shorten

Tokens = npt.NDArray[np.uint8]
Pairs = tuple[list[Tokens], list[Tokens], npt.NDArray[np.float64]]


class Prepared(Protocol):
    """A family prepared for sampling pairs of views."""

    def draw(self, n: int, rng: np.random.Generator) -> Pairs:
        """Sample n pairs of views.

        Returns:
            n token arrays, their n partners, and the evolutionary distance of each pair, expected substitutions per site,
            shape (n,); NaN if undefined. Arrays may be shared with the family and must not be modified.
        """


def draw_all(prepared: Prepared, n: int, rng: np.random.Generator) -> tuple[list[list[Tokens]], npt.NDArray[np.float64]]:
    """Sample all views n times: by the prepared family's `draw_all` if it has one, else pairs.

    Returns:
        V ≥ 2 lists of n token arrays, the two of a pair first, and the distance between these two, (n,).
    """
    if hasattr(prepared, "draw_all"):
        return prepared.draw_all(n, rng)
    a, b, distance = prepared.draw(n, rng)
    return [a, b], distance


class Source(Protocol):
    """A view that makes pairs from a family."""

    def prepare(self, family: Family) -> Prepared:
        """Return the prepared family.

        Raises:
            BadInputError: the family lacks what the view needs (a tree, two members, a pair in the band).
        """


class Transform(Protocol):
    """A view that alters one sequence; applied to both sequences of a pair, independently."""

    @property
    def expected_distance(self) -> float:
        """Evolutionary distance that it adds between two copies of one sequence, substitutions per site; NaN: undefined."""

    def __call__(self, tokens: Tokens, rng: np.random.Generator) -> Tokens:
        """Return the altered sequence, at least one token long; the input is not modified."""


def member_tokens(family: Family) -> dict[str, Tokens]:
    """Return the tokens of every member by id, in the family's order.

    Raises:
        BadInputError: a member has no residues, or an invalid letter.
    """
    tokens = dict(zip(family.ids, family.encoded(), strict=True))
    for name, found in tokens.items():
        if len(found) == 0:
            raise BadInputError(f"{family.label}: {shorten(name)!r} contains only gaps", fix="remove it from the family")
    return tokens


def require_aligned(family: Family, view: str) -> None:
    """Raise an error if a view needs an alignment and the family is not aligned.

    Raises:
        BadInputError: the family is not aligned.
    """
    if not family.aligned:
        raise BadInputError(f"{family.label} is not aligned, and the view {view} needs columns", fix="use 'phylocli align'")


def check_fraction(value: float, name: str, *, zero: bool = True) -> float:
    """Return a fraction between 0 and 1.

    Raises:
        UsageError: the value is out of range.
    """
    value = float(value)
    if not 0 <= value <= 1 or (value == 0 and not zero):
        raise UsageError(f"the view's {name} is {value:g}", fix="give a number from 0 to 1" + ("" if zero else ", above 0"))
    return value


def check_band(low: float, high: float, view: str) -> tuple[float, float]:
    """Return a band of distances, 0 ≤ low ≤ high.

    Raises:
        UsageError: the band is invalid.
    """
    low, high = float(low), float(high)
    if not 0 <= low <= high:
        raise UsageError(f"the view {view} cannot use the band {low:g} to {high:g}", fix="give 0 ≤ min_dist ≤ max_dist")
    return low, high


def check_distance(value: float, name: str) -> float:
    """Return a finite, non-negative distance.

    Raises:
        UsageError: the value is out of range.
    """
    value = float(value)
    if not 0 <= value < np.inf:
        raise UsageError(f"the view's {name} is {value:g}", fix="give a distance of at least 0, in substitutions per site")
    return value
