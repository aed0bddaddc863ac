"""The map as a static picture, with the points, colours and legend of the HTML page."""

from __future__ import annotations

from typing import Any

import numpy as np

from phylocli.probe.map.page import CLASS_COLOURS, MapPage

GREY = "#aab1b8"
LISTED = 20
"""Maximum number of classes in the legend."""
_NAME = 34
"""Maximum length of a class name in the legend, in characters."""


def map_figure(page: MapPage) -> Any:
    """Return the map as a matplotlib figure, with a legend of the largest classes or a colour bar for a quantity."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(page.title, fontsize=11, loc="left", parse_math=False)
    axes.set_xlabel(f"{page.method}; {len(page.ids):,} embeddings", fontsize=8, parse_math=False)
    x, y = page.points.T
    # Many points are drawn as a bitmap, because SVG and PDF would contain an element for each.
    style: dict[str, Any] = {"s": float(np.clip(4_000 / max(1, len(x)), 1.5, 22)), "linewidths": 0, "alpha": 0.85}
    style["rasterized"] = len(x) > 5_000
    if page.codes is not None:
        grey = (page.codes < 0) | (page.codes >= LISTED)
        axes.scatter(x[grey], y[grey], c=GREY, **style)
        for code, name in reversed(list(enumerate(page.names[:LISTED]))):
            here = page.codes == code
            short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
            axes.scatter(x[here], y[here], c=CLASS_COLOURS[code], label=short, **style)
        _legend(figure, axes, page, int(grey.sum()))
    elif page.values is not None:
        known = np.isfinite(page.values)
        axes.scatter(x[~known], y[~known], c=GREY, **style)
        shown = axes.scatter(x[known], y[known], c=page.values[known], cmap="viridis", **style)
        figure.colorbar(shown, ax=axes, shrink=0.7).set_label(page.column or "", parse_math=False)
    else:
        axes.scatter(x, y, c=CLASS_COLOURS[0], **style)
    return figure


def _legend(figure: Any, axes: Any, page: MapPage, grey: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    title = page.column or ""
    title += f"\n(grey: {grey:,} of other classes or none)" if grey else ""
    place = {"loc": "outside right upper", "fontsize": 7.5, "title": title, "title_fontsize": 8, "frameon": False}
    legend = figure.legend(handles[::-1], labels[::-1], **place)
    for text in (*legend.get_texts(), legend.get_title()):
        text.set_parse_math(False)
    for handle in legend.legend_handles:
        handle.set_sizes([22])
