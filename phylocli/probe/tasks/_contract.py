"""What every probe gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from phylocli.statistics.bootstrap import Estimate

MAX_SCORES = 300_000_000
"""At most so many scores are ranked at one level: beyond, queries are drawn at random (3,000 of 100,000 sequences)."""

MIN_QUERIES = 1_000

SEARCH_BLOCK = 16_000_000
"""Scores held at once when all queries meet all targets: 64 MB of float32."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        meaning: one or two sentences for the report: what it is, its range, the source of its definition.
        better: `higher`, `lower`, or None where neither is better as such (such estimates are not compared).
    """

    meaning: str
    better: Literal["higher", "lower"] | None = "higher"


@dataclass
class Measurement:
    """What one probe found at one level for one embedding.

    Attributes:
        estimates: the estimates, in any order.
        curves: curves for the report by name, as (x, y).
        note: a sentence on what was scored (classes left out, folds), shown once a level.
    """

    estimates: list[Estimate]
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    note: str = ""
