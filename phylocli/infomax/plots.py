"""The common look of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4fa3", "#444444", "#a6761d")
GREY = "#555555"


def panels(columns: int, rows: int = 1, *, width: float = 3.6, height: float = 3.0) -> tuple[Any, list[Any]]:
    """Return a figure and its panels, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in found:
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="0.92", linewidth=0.7)
        panel.set_axisbelow(True)
    return figure, found


def label(panel: Any, x: str, y: str, title: str = "") -> None:
    """Label the axes, and write a title."""
    panel.set_xlabel(x, fontsize=9)
    panel.set_ylabel(y, fontsize=9)
    panel.set_title(title, fontsize=9, loc="left")


def errors(rows: Sequence[dict[str, Any]], column: str) -> list[list[float]]:
    """Return the distances from the means to the ends of their intervals, (2, rows); 0 where there is none."""

    def length(row: dict[str, Any], end: str) -> float:
        return 0.0 if row[f"{column}_{end}"] is None else abs(row[column] - row[f"{column}_{end}"])

    return [[length(row, end) for row in rows] for end in ("low", "high")]


def curve(panel: Any, part: pl.DataFrame, x: str, y: str, colour: str, name: str, **style: Any) -> None:
    """Draw means joined by a line, with intervals."""
    rows = [row for row in part.to_dicts() if row[x] is not None and row[y] is not None]
    kind = {"marker": "o", "markersize": 4, "linewidth": 1.3, "capsize": 0, "elinewidth": 0.9, **style}
    panel.errorbar(
        [row[x] for row in rows], [row[y] for row in rows], yerr=errors(rows, y), color=colour, label=name, **kind
    )  # fmt: skip


def legend(panel: Any, **options: Any) -> None:
    """Draw a legend without a frame."""
    panel.legend(**{"fontsize": 7.5, "frameon": False, **options})
