"""The results of a probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from phylocli.statistics.bootstrap import Estimate

MAX_SCORES = 300_000_000
"""Maximum number of ranked scores per level, above which queries are subsampled (3,000 for 100,000 sequences)."""

MIN_QUERIES = 1_000

SEARCH_BLOCK = 16_000_000
"""Number of scores in memory at a time when queries are compared with targets: 64 MB of float32."""


@dataclass(frozen=True)
class Metric:
    """Description of a metric.

    Attributes:
        meaning: one or two sentences for the report: definition, range, source.
        better: `higher`, `lower`, or None if neither is better; such metrics are not compared.
    """

    meaning: str
    better: Literal["higher", "lower"] | None = "higher"


@dataclass
class Measurement:
    """The results of a probe at one level for one embedding.

    Attributes:
        estimates: the estimates, in any order.
        curves: curves for the report by name, as (x, y).
        note: a sentence about the scored items (excluded classes, folds), shown once per level.
    """

    estimates: list[Estimate]
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    note: str = ""
