"""The plot of quality against nats: bands joined by a line in order of distance, other views as labelled points."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import escape

from phylocli.formats.pages import page, table
from phylocli.formats.pictures import figure_as_svg

LINE, GREY = "#0b6e69", "#555555"
COLOURS = ("#d55e00", "#0072b2", "#cc79a7", "#8a6d00", "#7a4fa3", "#444444")
NAMES = {
    "phylogenetic": "homologs, by band of distance",
    "substitution": "substitution, by distance",
    "hmm-emission": "HMM emission",
}
AXES = {
    "retrieval": "sensitivity up to the first false positive, family",
    "clan": "sensitivity up to the first false positive, clan",
    "patristic": "rank correlation with patristic distance",
}


def draw(table: pl.DataFrame, summary: pl.DataFrame, differences: pl.DataFrame, quality: str) -> tuple[str, str]:
    """Return the figure as SVG, and as a self-contained page with its values.

    Args:
        table: one row per run.
        summary: one row per view, in order; bands first.
        differences: bands against other views.
        quality: column for the vertical axis.
    """
    svg = figure_as_svg(_figure(table, summary, quality))
    return svg, _page(summary, differences.filter(pl.col("quality") == quality), quality, svg[svg.index("<svg") :])


def _errors(row: dict[str, Any], column: str) -> list[list[float]] | None:
    if row[f"{column}_low"] is None:
        return None
    return [[row[column] - row[f"{column}_low"]], [row[f"{column}_high"] - row[column]]]


def _figure(table: pl.DataFrame, summary: pl.DataFrame, quality: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.6, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    rows = summary.filter(pl.col(quality).is_not_null() & pl.col("nats_infonce").is_not_null()).to_dicts()
    kinds = list(dict.fromkeys(row["kind"] for row in rows if row["kind"] != "phylogenetic"))
    colours = {"phylogenetic": LINE, **{kind: COLOURS[k % len(COLOURS)] for k, kind in enumerate(kinds)}}
    for kind, colour in colours.items():
        alike = [row for row in rows if row["kind"] == kind]
        panel.plot(
            [r["nats_infonce"] for r in alike], [r[quality] for r in alike], color=colour, zorder=2, marker="o",
            markersize=5, linewidth=1.6 if kind == "phylogenetic" else 0.8, label=NAMES.get(kind, kind),
        )  # fmt: skip
        for row in alike:
            runs = table.filter((pl.col("view") == row["view"]) & pl.col(quality).is_not_null())
            panel.scatter(runs["nats_infonce"], runs[quality], s=9, color=colour, alpha=0.35, linewidths=0, zorder=3)
            panel.errorbar(
                row["nats_infonce"], row[quality], xerr=_errors(row, "nats_infonce"), yerr=_errors(row, quality),
                color=colour, elinewidth=0.9, zorder=4,
            )  # fmt: skip
            if len(alike) > 1:
                at = (row["nats_infonce"], row[quality])
                text = row["view"].removeprefix(f"{kind} ")
                panel.annotate(text, at, xytext=(5, 4), textcoords="offset points", fontsize=7.5, color=colour)
    ceiling: Any = summary["ceiling_nats"].mean()
    if ceiling is not None:
        panel.axvline(ceiling, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)))
        at_top = panel.get_xaxis_transform()
        panel.text(ceiling, 1.01, "ceiling, log K", transform=at_top, ha="center", va="bottom", fontsize=7.5, color=GREY)
    panel.set_xlabel("information shared by the two views, nats (InfoNCE on held-out pairs)", fontsize=9)
    panel.set_ylabel(AXES.get(quality, quality), fontsize=9)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="0.92", linewidth=0.7)
    panel.set_axisbelow(True)
    if rows:
        figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=3)
    return figure


def _cell(row: dict[str, Any], column: str) -> str:
    if row[column] is None:
        return "–"
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return f"{row[column]:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _page(summary: pl.DataFrame, differences: pl.DataFrame, quality: str, svg: str) -> str:
    columns = [c for c in summary.columns if f"{c}_low" in summary.columns]
    rows = []
    for row in summary.to_dicts():
        distance = "–" if row["distance"] is None else f"{row['distance']:.2f}"
        rows.append([row["view"], distance, row["seeds"], *(_cell(row, c) for c in columns)])
    views = table(["view", "distance", "seeds", *(c.replace("_", " ") for c in columns)], rows)
    gaps = []
    for row in differences.to_dicts():
        ends = "" if row["low"] is None else f" ({row['low']:+.3f} to {row['high']:+.3f})"
        p = "–" if row["p_holm"] is None else f"{row['p_holm']:.3g}"
        gaps.append([row["band"], row["view"], f"{row['difference']:+.3f}{ends}", row["seeds"], p])
    against = table(["homologs at", "against", "difference", "seeds", "p, corrected"], gaps)
    body = f"""<h1>Embedding quality against shared information</h1>
<p>One point per view: {escape(AXES.get(quality, quality))}, against the information (nats)
shared by the embeddings of two held-out views. Theory (Tian et al. 2020, arXiv 2005.10243)
expects an inverted U. Means and 95 % intervals over seeds (Student's t); small dots are runs.</p>
{svg}
{views}
<h2>Homologs against the other views</h2>
<p>The band's {escape(quality)} minus the other view's, paired by seed; 95 % intervals; p of the
paired t test, by Holm's method.</p>
{against}"""
    return page("InfoMin", body, width=70)
