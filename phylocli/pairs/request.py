"""What is asked for when pairs are drawn: the bands, the law, the limits; checked once, before any family is read."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from phylocli.core import console
from phylocli.core.alphabet import check_alphabet
from phylocli.core.errors import UsageError
from phylocli.pairs.sampler import PairSampler

WEIGHTINGS = ("uniform", "per-sequence", "per-family", "log-distance")
UNITS = ("substitutions", "relative")
NARROW = 1.15
"""Bands whose ends differ by less than this factor mean little: log distances of good trees scatter by about 13 %."""

Band = tuple[float, float]


@dataclass(frozen=True)
class Request:
    """A request for pairs; the fields are explained at `draw_pairs`."""

    min_dist: float = 0.0
    max_dist: float = math.inf
    n: int | None = None
    seed: int = 0
    weighting: str = "uniform"
    replace: bool = False
    bins: tuple[Band, ...] | None = None
    quantiles: Band | None = None
    unit: str = "substitutions"
    max_per_sequence: int | None = None
    max_per_ancestor: int | None = None
    min_identity: float = 0.0
    max_identity: float = 1.0
    min_coverage: float = 0.0
    alphabet: str = "protein"

    def __post_init__(self) -> None:
        check_alphabet(self.alphabet)
        for lo, hi in (*(self.bins or ()), (self.min_dist, self.max_dist)):
            if math.isnan(lo) or math.isnan(hi) or lo < 0 or hi < lo:
                raise UsageError(
                    f"there is no band from {lo:g} to {hi:g}",
                    fix="a band starts at 0 or above and ends where it starts or above",
                )
        if self.bins is not None:
            if not self.bins:
                raise UsageError("no bin is named", fix="write bins as 0:0.2,0.2:0.5")
            if self.quantiles or self.min_dist > 0 or self.max_dist < math.inf:
                raise UsageError("bins and another band are both named", fix="leave out --bins, or the other band")
            for (lo, hi), (after, end) in pairwise(sorted(self.bins)):
                if after < hi or (lo, hi) == (after, end):
                    raise UsageError(
                        f"the bins {lo:g}:{hi:g} and {after:g}:{end:g} overlap",
                        why="a pair belongs to one bin, and would be counted in both",
                        fix="let each bin start where the one before it ends, or later",
                    )
        if self.quantiles and not 0 <= self.quantiles[0] <= self.quantiles[1] <= 1:
            raise UsageError(
                f"there are no quantiles from {self.quantiles[0]:g} to {self.quantiles[1]:g}",
                fix="write them as 0.25:0.75, between 0 and 1",
            )
        for value, known, what in ((self.weighting, WEIGHTINGS, "weighting"), (self.unit, UNITS, "unit")):
            if value not in known:
                raise UsageError(f"there is no {what} named {value!r}", fix=f"known: {', '.join(known)}")
        for number, what in (
            (self.n, "-n"),
            (self.max_per_sequence, "--max-per-sequence"),
            (self.max_per_ancestor, "--max-per-ancestor"),
        ):
            if number is not None and number < 1:
                raise UsageError(f"{what} is {number}", fix="give a number from 1")
        if not (0 <= self.min_identity <= self.max_identity <= 1 and 0 <= self.min_coverage <= 1):
            raise UsageError(
                f"no pair has an identity from {self.min_identity:g} to {self.max_identity:g} and a coverage from "
                f"{self.min_coverage:g}",
                fix="identity and coverage lie between 0 and 1",
            )
        if self.replace and self.n is None:
            raise UsageError("drawing with replacement never ends by itself", fix="say how many pairs with -n")
        if self.replace and self.is_capped:
            raise UsageError("a cap on pairs is asked for, and that pairs repeat", fix="leave out --replace, or the cap")
        if self.n is None and self.weighting != "uniform":
            raise UsageError(f"all pairs cannot be weighted {self.weighting}", fix="say how many pairs with -n")

    @property
    def is_capped(self) -> bool:
        """Whether a sequence or an ancestor may only take part in so many pairs."""
        return self.max_per_sequence is not None or self.max_per_ancestor is not None

    @property
    def is_filtered(self) -> bool:
        """Whether pairs must pass a condition on their aligned rows."""
        return self.min_identity > 0 or self.max_identity < 1 or self.min_coverage > 0

    @property
    def shares(self) -> list[int | None]:
        """How many pairs each band is to give: equally many, the first ones one more where n does not divide."""
        bands = len(self.bins) if self.bins else 1
        if self.n is None:
            return [None] * bands
        return [self.n // bands + (k < self.n % bands) for k in range(bands)]

    def bands(self, sampler: PairSampler) -> list[Band]:
        """Return the bands in the family's own terms, expected substitutions per site, both ends included."""
        scale = 1.0
        if self.unit == "relative":
            scale = float(sampler.quantiles([0.5])[0])

        def scaled(bound: float) -> float:
            return scale * bound if bound < math.inf else bound

        if self.bins:
            # Bins that touch share a distance. It belongs to the bin of this one distance (x:x) where there is one, else to
            # the bin that starts there.
            points = {lo for lo, hi in self.bins if lo == hi}
            starts = {lo for lo, _ in self.bins}
            return [
                (scaled(lo), scaled(hi))
                if lo == hi
                else (
                    math.nextafter(scaled(lo), math.inf) if lo in points else scaled(lo),
                    math.nextafter(scaled(hi), -math.inf) if hi in starts else scaled(hi),
                )
                for lo, hi in self.bins
            ]
        lo, hi = scaled(self.min_dist), scaled(self.max_dist)
        if self.quantiles:
            low, high = sampler.quantiles(list(self.quantiles)).tolist()
            lo, hi = max(lo, low), min(hi, high)
        return [(lo, hi)]

    def as_parameters(self) -> dict[str, Any]:
        """Return the fields for a provenance record; an open end is None, as JSON has no infinity."""
        plain = asdict(self)
        plain["max_dist"] = None if self.max_dist == math.inf else self.max_dist
        if self.bins:
            plain["bins"] = [[lo, None if hi == math.inf else hi] for lo, hi in self.bins]
        return plain

    def describe(self) -> str:
        """Return the band in words, for messages."""
        unit = "substitutions per site" if self.unit == "substitutions" else "times the family's median distance"
        if self.bins:
            text = f"in the bins {', '.join(f'{lo:g}:{hi:g}' for lo, hi in self.bins)} {unit} apart"
        elif self.max_dist < math.inf:
            text = f"from {self.min_dist:g} to {self.max_dist:g} {unit} apart"
        else:
            text = f"{self.min_dist:g} {unit} or more apart" if self.min_dist > 0 else "at any distance"
        if self.quantiles:
            text += f" between the quantiles {self.quantiles[0]:g} and {self.quantiles[1]:g} of each family's distances"
        if self.is_filtered:
            text += " that pass the limits of identity and coverage"
        if self.is_capped:
            text += " and can be drawn under the caps"
        return text

    def warn_if_narrow(self) -> None:
        """Warn of bands that promise more than inferred trees resolve."""
        for lo, hi in self.bins or ((self.min_dist, self.max_dist),):
            if lo > 0 and hi < NARROW * lo:
                console.warning(
                    f"the band from {lo:g} to {hi:g} is narrower than inferred trees resolve: the distances of a good tree "
                    "scatter by about 13 % around the true ones, so a band means little below a width of 15 %"
                )


def parse_bins(text: str | None) -> tuple[Band, ...] | None:
    """Return the bins of a text such as `0:0.2,0.2:0.5,0.5:`; an end left out is open.

    Raises:
        UsageError: the text is none.
    """
    return None if text is None else tuple(parse_range(part, "bins") for part in text.split(","))


def parse_range(text: str, what: str) -> Band:
    """Return the two numbers of a text such as `0.25:0.75`; an end left out is 0 or infinite.

    Raises:
        UsageError: the text is none.
    """
    parts = text.split(":")
    try:
        low, high = parts
        return float(low or 0), float(high or math.inf)
    except ValueError:
        raise UsageError(
            f"{text!r} is no range", fix=f"write {what} with a colon between two numbers, as in 0.2:0.5"
        ) from None


def parse_fractions(text: str) -> tuple[float, ...]:
    """Return the numbers of a text such as `0.8,0.1,0.1`.

    Raises:
        UsageError: the text is none.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{text!r} are no shares", fix="give three numbers that sum to 1, as in 0.8,0.1,0.1") from None
