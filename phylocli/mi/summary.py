"""Bias, variance and mean squared error of the benchmark's rows, as a data frame and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phylocli.mi.staircase import Row

if TYPE_CHECKING:
    import polars as pl


def summarise(rows: Sequence[Row]) -> pl.DataFrame:
    """Return bias (nats), variance and mean squared error (nats²) of each row; the last is bias² + variance."""
    import polars as pl

    frame = pl.DataFrame(
        {
            "transform": [row.transform for row in rows],
            "estimator": [row.estimator for row in rows],
            "critic": [row.critic for row in rows],
            "true_nats": [row.true_nats for row in rows],
            "bias": [row.estimate_nats - row.true_nats for row in rows],
            "variance": [row.sd**2 for row in rows],
        }
    )
    return frame.with_columns((pl.col("bias") ** 2 + pl.col("variance")).alias("mean_squared_error"))


def table(rows: Sequence[Row]) -> list[str]:
    """Return the summary as lines of Markdown, one per method: bias, variance and mean squared error at each level."""
    levels = list(dict.fromkeys(row.true_nats for row in rows))
    figures = {row[:4]: row[4:] for row in summarise(rows).iter_rows()}
    heads = [f"{level:g} nats" for level in levels]
    lines = [f"| transform | estimator | critic | {' | '.join(heads)} |", "|---|---|---|" + "---|" * len(levels)]
    for method in dict.fromkeys((r.transform, r.estimator, r.critic) for r in rows):
        cells = []
        for level in levels:
            found = figures.get((*method, level))
            cells.append(f"{_short(found[0], '+')}, {_short(found[1])}, {_short(found[2])}" if found else "")
        lines.append(f"| {' | '.join((*method, *cells))} |")
    return lines


def _short(value: float, sign: str = "") -> str:
    return f"{value:{sign}.2f}" if abs(value) < 100 else f"{value:{sign},.0f}" if abs(value) < 1e5 else f"{value:{sign}.0e}"
