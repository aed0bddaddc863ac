"""The staircase plot: estimates of each estimator while the true information increases in steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phylocli.formats.pictures import figure_as_svg, picture_format, save_figure
from phylocli.formats.streams import PathLike, write_text
from phylocli.mi.staircase import Row
from phylocli.mi.summary import table

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
COLUMNS = 4
POINTS = 75
"""Number of windows in a critic's trace, over all levels."""


def check_target(path: PathLike) -> None:
    """Raise a UsageError where the suffix names no picture format."""
    picture_format(path, ".html")


def draw(rows: Sequence[Row], path: PathLike) -> None:
    """Plot as in Poole et al. 2019 (arXiv 1905.06922, figure 2) and Song & Ermon 2020 (arXiv 1910.06222, figure 1).

    One panel per estimator. Black: the true information; dashed: log N; colours: critics, with the median over a window of
    training batches and a band from the 10th to the 90th percentile. A critic that is not trained is shown as the mean of
    each level and a band of one standard deviation.

    Args:
        rows: of one run of the benchmark, with their traces.
        path: `.svg`, `.png`, `.pdf`, or `.html`, which has the tables below the picture.

    Raises:
        UsageError: another suffix.
    """
    check_target(path)
    figure = _figure(rows)
    if Path(path).suffix.lower() == ".html":
        picture = figure_as_svg(figure)
        write_text(path, _page(rows, picture[picture.index("<svg") :]))
    else:
        save_figure(figure, path, dpi=130)


def _figure(rows: Sequence[Row]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    transforms = list(dict.fromkeys(row.transform for row in rows))
    estimators = list(dict.fromkeys(row.estimator for row in rows))
    colours = dict(zip(dict.fromkeys(row.critic for row in rows), COLOURS * len(rows), strict=False))
    columns = min(COLUMNS, len(estimators))
    lines = math.ceil(len(estimators) / columns)
    figure = Figure(figsize=(3.0 * columns, 2.2 * lines * len(transforms) + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines * len(transforms), columns, squeeze=False, sharex=True, sharey=True)
    for panel in panels.flat:
        panel.axis("off")
    for block, transform in enumerate(transforms):
        for place, estimator in enumerate(estimators):
            panel = panels[block * lines + place // columns][place % columns]
            chosen = [row for row in rows if row.transform == transform and row.estimator == estimator]
            if not chosen:
                continue
            panel.axis("on")
            _panel(panel, chosen, colours)
            title = estimator.replace(":divergence=", " ") + (", y cubed" if transform == "cubic" else "")
            panel.set_title(title, fontsize=8.5, loc="left")
    highest = max(row.true_nats for row in rows)
    panels[0][0].set_ylim(-0.1 * highest, 1.4 * highest)
    figure.supxlabel("training batches; the true information increases at each step of the black line", fontsize=9)
    figure.supylabel("nats", fontsize=9)
    handles = [_handle(colour) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside upper center", ncols=len(colours), fontsize=8.5, frameon=False)
    return figure


def _handle(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linewidth=2)


def _panel(panel: Any, rows: list[Row], colours: dict[str, str]) -> None:
    levels = list(dict.fromkeys(row.true_nats for row in rows))
    width = max((len(row.trace) for row in rows), default=0) or 100
    panel.stairs(levels, np.arange(len(levels) + 1) * width, color="black", linewidth=1.1, baseline=None, zorder=5)
    panel.axhline(math.log(rows[0].batch_size), color="0.45", linewidth=0.8, linestyle="--")
    below = 0
    for critic in dict.fromkeys(row.critic for row in rows):
        chosen = [row for row in rows if row.critic == critic]
        x, middle, low, high = np.hstack([_shown(row, levels.index(row.true_nats) * width, width, levels) for row in chosen])
        panel.plot(x, middle, color=colours[critic], linewidth=1.3, zorder=4)
        panel.fill_between(x, low, high, color=colours[critic], alpha=0.18, linewidth=0, zorder=2)
        if not any(row.estimate_nats >= 0 for row in chosen):
            text = f"{critic} is below"
            panel.text(0.02, 0.03 + 0.1 * below, text, transform=panel.transAxes, fontsize=7.5, color=colours[critic])
            below += 1
    panel.tick_params(labelsize=7.5)
    panel.spines[["top", "right"]].set_visible(False)


def _shown(row: Row, left: float, width: int, levels: list[float]) -> np.ndarray:
    """Return x, middle, low and high of a row's curve, (4, points), ending in a gap."""
    gap = np.full((4, 1), np.nan)
    if not len(row.trace):
        ends = np.array([left, left + width])
        return np.hstack([np.vstack([ends, *(np.full(2, row.estimate_nats + k * row.sd) for k in (0, -1, 1))]), gap])
    windows = min(max(2, POINTS // len(levels)), len(row.trace))
    # Clip curves far outside the panel to the range of the renderer's numbers.
    far = 10 * max(levels)
    parts = np.array_split(np.nan_to_num(row.trace, nan=-far, neginf=-far, posinf=far), windows)
    stops = np.cumsum([len(part) for part in parts])
    x = [left + stop - len(part) / 2 for stop, part in zip(stops, parts, strict=True)]
    low, middle, high = np.clip([np.quantile(part, [0.1, 0.5, 0.9]) for part in parts], -far, far).T
    return np.hstack([np.vstack([x, middle, low, high]), gap])


def _page(rows: Sequence[Row], svg: str) -> str:
    from markupsafe import Markup, escape

    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(cell.strip()) for cell in cells))
        for cells in (line.strip("|").split("|") for line in table(rows)[2:])
    )
    head = Markup("").join(Markup("<th>{}</th>").format(cell.strip()) for cell in table(rows)[0].strip("|").split("|"))
    sizes = f"{rows[0].batch_size} pairs per batch, {rows[0].dimension} components"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Estimators of mutual information</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}}
svg{{max-width:100%;height:auto}}table{{border-collapse:collapse;font-size:13px}}td,th{{padding:.2rem .6rem;text-align:left;
border-bottom:1px solid #ddd}}</style></head><body>
<h1>Estimators of mutual information</h1>
<p>{escape(sizes)}. Black: the true information; dashed: log N.</p>
{svg}
<h2>Bias, variance, mean squared error</h2>
<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>
</body></html>
"""
