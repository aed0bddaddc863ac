"""The plot of a sweep (one line per setting, one point per seed, mean and interval) and an HTML page with the table."""

from __future__ import annotations

from typing import Any

import polars as pl

from phylocli.formats.pages import page, table
from phylocli.formats.pictures import figure_as_svg

DOT, MEAN = "#0072b2", "#222222"


def draw(frame: pl.DataFrame, summary: pl.DataFrame, metric: str) -> tuple[str, str]:
    """Return the figure as SVG, and a self-contained HTML page with the figure and the table.

    Args:
        frame: the result of `results.collect`.
        summary: the result of `results.summarise`.
        metric: the column of the results to plot.
    """
    means = summary.filter(pl.col("figure") == metric)
    svg = figure_as_svg(_figure(frame, means, metric))
    return svg, _page(frame, means, metric, svg[svg.index("<svg") :])


def _figure(frame: pl.DataFrame, means: pl.DataFrame, metric: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = frame["setting"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(7.5, 1.1 + 0.32 * len(settings)), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    place = {setting: -k for k, setting in enumerate(settings)}
    done = frame.filter((pl.col("status") == "done") & pl.col(metric).is_not_null())
    for row in means.iter_rows(named=True):
        y = place[row["setting"]]
        if row["low"] is not None:
            panel.plot([row["low"], row["high"]], [y, y], color=MEAN, linewidth=1.6, zorder=2)
        panel.plot([row["mean"]] * 2, [y - 0.22, y + 0.22], color=MEAN, linewidth=1.6, zorder=3)
    panel.scatter(
        done[metric].to_list(), [place[s] for s in done["setting"]], s=26, color=DOT, alpha=0.75, linewidths=0, zorder=4
    )
    panel.set_yticks(list(place.values()), [_shortened(setting) for setting in settings], fontsize=8.5)
    panel.set_ylim(-len(settings) + 0.4, 0.6)
    panel.set_xlabel(f"{metric.replace('_', ' ')}; points: seeds, lines: means and 95 % intervals", fontsize=8.5)
    panel.tick_params(axis="x", labelsize=8)
    panel.grid(axis="x", color="0.9", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    return figure


def _shortened(setting: str) -> str:
    # matplotlib interprets text between dollar signs as a formula.
    return (setting if len(setting) <= 60 else f"{setting[:59]}…").replace("$", r"\$")


def _page(frame: pl.DataFrame, means: pl.DataFrame, metric: str, svg: str) -> str:
    from markupsafe import Markup, escape

    counts = frame["status"].value_counts(sort=True).rows()
    shown = ", ".join(f"{count} {status}" for status, count in counts)
    head = ("setting", "seeds", "mean", "95 % interval")
    rows = [
        (
            row["setting"],
            row["n"],
            f"{row['mean']:.4g}",
            "–" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}",
        )
        for row in means.iter_rows(named=True)
    ]
    failed = frame.filter(pl.col("status") == "failed").select("run", "error").rows()
    body = f"""<h1>Sweep: {escape(metric.replace("_", " "))}</h1>
<p>{len(frame)} runs: {escape(shown)}. Held-out members depend on the seed of each run.</p>
{svg}
{table(head, rows)}
{Markup("<h2>Failed</h2>") + table(("run", "error"), failed) if failed else ""}"""
    return page("Sweep", body)
