"""The plots of the report: matplotlib figures as inline SVG with colours of the page's light, dark or print theme.

Figures are drawn in the colours of the light theme (`PALETTE`). Their styles are converted to presentation attributes, which
the page's Content-Security-Policy allows, and `theme_css` maps each colour to a variable of the style sheet.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from phylocli.formats.pictures import figure_as_svg
from phylocli.probe.map.page import CLASS_COLOURS
from phylocli.probe.report.data import Curve, LayerRow, MetricRow, Projection
from phylocli.probe.report.numbers import clip, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EMBEDDINGS = ("#0c7d78", "#d9822b", "#8a63b5", "#76838f", "#c04f78", "#6f9130", "#3f74c5", "#a37b3c")
CLASSES = CLASS_COLOURS[:10]
QUANTILES = (
    *("#4b2a83", "#47408f", "#3c5793", "#316b93", "#287f90", "#239287", "#35a774", "#62b955", "#9fc63a", "#e0cc2f"),
)
INK, MUTED, LINE, CARD, OTHER = "#1c2127", "#5d6771", "#e2e4e6", "#ffffff", "#b9bfc5"
PALETTE = {
    **{f"e{i}": colour for i, colour in enumerate(EMBEDDINGS)},
    **{f"m{i}": colour for i, colour in enumerate(CLASSES)},
    **{"ink": INK, "muted": MUTED, "line": LINE, "card": CARD, "other": OTHER},
}
"""Colours of the light theme by name of the CSS variable; report.css overrides them for dark and printed pages."""


def light_css() -> str:
    """Return CSS with the variables of the light theme and the classes of marks."""
    variables = ";".join(f"--{name}:{colour}" for name, colour in PALETTE.items())
    marks = [f".{name}{{color:var(--{name})}}" for name in PALETTE if name not in ("ink", "muted", "line", "card")]
    marks += [f".q{i}{{color:{colour}}}" for i, colour in enumerate(QUANTILES)]
    return "\n".join([f":root{{{variables}}}", *marks])


def theme_css() -> str:
    """Return CSS rules that replace the light theme's colours in figures by the variables of the current theme."""
    return "\n".join(
        f'svg [fill="{colour}"]{{fill:var(--{name})}} svg [stroke="{colour}"]{{stroke:var(--{name})}}'
        for name, colour in PALETTE.items()
    )


def embedding_colour(place: int) -> str:
    """Return the colour of an embedding by its index in the report."""
    return EMBEDDINGS[min(place, len(EMBEDDINGS) - 1)]


@dataclass
class _Picture:
    """A figure with a single panel and tooltips.

    Attributes:
        label: description for screen readers.
        width, height: size in pixels.
        margins: left, right, top and bottom margin in pixels.
        titles: tooltips of each artist.
    """

    label: str
    width: float
    height: float
    margins: tuple[float, float, float, float]
    titles: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from matplotlib.figure import Figure

        left, right, top, foot = self.margins
        self.figure = Figure(figsize=(self.width / 72, self.height / 72))
        box = (left / self.width, foot / self.height)
        size = (1 - (left + right) / self.width, 1 - (top + foot) / self.height)
        self.axes: Axes = self.figure.add_axes((*box, *size))
        self.figure.patch.set_visible(False)
        self.axes.patch.set_visible(False)
        self.axes.spines[:].set_visible(False)
        self.axes.tick_params(length=0, labelsize=11, labelcolor=MUTED, pad=5)
        self.axes.set_axisbelow(True)

    def grid(self, axis: Any, ticks: Sequence[float] | None = None, most: int = 5) -> None:
        """Draw grid lines at round values of one axis."""
        from matplotlib.ticker import MaxNLocator, ScalarFormatter

        which = self.axes.xaxis if axis == "x" else self.axes.yaxis
        if ticks is None:
            which.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
            which.set_major_formatter(ScalarFormatter(useOffset=False))
        else:
            which.set_ticks(list(ticks), [f"{tick:g}" for tick in ticks])
        self.axes.grid(axis=axis, color=LINE, linewidth=1)

    def titled(self, artist: Any, *titles: str) -> None:
        """Set the tooltip of an artist, or one for each of its points."""
        artist.set_gid(f"hover{len(self.titles)}")
        self.titles.append(list(titles))

    def axis_titles(self, x: str, y: str) -> None:
        self.axes.set_xlabel(x, fontsize=11, color=MUTED, labelpad=4)
        self.axes.set_ylabel(clip(y, 44), fontsize=11, color=MUTED, labelpad=4)

    def finish(self) -> Markup:
        """Return the figure as inline SVG."""
        from matplotlib.text import Text

        for artist in self.figure.findobj():
            artist.set_clip_on(False)
            if isinstance(artist, Text):
                artist.set_parse_math(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # glyphs missing from matplotlib's font; the browser renders the text
            text = figure_as_svg(self.figure)
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->|<defs>\s*</defs>", "", text, flags=re.DOTALL)
        text = re.sub(r'<g id="(hover(\d+))">(.*?)</g>', self._with_titles, text, flags=re.DOTALL)
        text = re.sub(r'(<g|<svg)( id="[^"]*")', r"\1", text).replace("xlink:href", "href")
        text = re.sub(r' style="([^"]*)"', _attributes, text)
        head = (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}" role="img"'
        )
        label = escape(self.label)
        text = re.sub(r"<svg[^>]*>", lambda _: f'{head} aria-label="{label}">', text, count=1)
        return Markup(re.sub(r">\s+<", "><", text))

    def _with_titles(self, found: re.Match[str]) -> str:
        titles = [f"<title>{escape(title)}</title>" for title in self.titles[int(found[2])]]
        if len(titles) == 1:
            return f"<g>{titles[0]}{found[3]}</g>"
        defs, end, points = found[3].rpartition("</defs>")
        style = re.search(r' style="[^"]*"', points)
        points = re.sub(r' style="[^"]*"', "", points)  # all points have the same style, which is set on the group
        marks = iter(titles)
        points = re.sub(r"<(use|path)([^>]*)/>", lambda mark: f"<{mark[1]}{mark[2]}>{next(marks)}</{mark[1]}>", points)
        return f"<g{style[0] if style else ''}>{defs}{end}{points}</g>"


def _attributes(style: re.Match[str]) -> str:
    """Convert a style to presentation attributes; the font family is omitted, because the page sets it."""
    found = []
    for part in filter(None, (part.strip() for part in style[1].split(";"))):
        name, value = (word.strip() for word in part.split(":", 1))
        if name != "font":
            found.append(f' {name}="{value}"')
        elif match := re.search(r"(?:(bold|\d+) )?([\d.]+)px", value):
            found.append(f' font-size="{match[2]}"' + (f' font-weight="{match[1]}"' if match[1] else ""))
    return "".join(found)


@dataclass(frozen=True)
class DotGroup:
    """The values of the embeddings at a level.

    Attributes:
        title: the level; empty if there is only one.
        rows: index of the embedding in the report, and its value.
        chance: the chance level; None if there is none.
    """

    title: str
    rows: list[tuple[int, MetricRow]]
    chance: float | None = None


def dot_plot(groups: Sequence[DotGroup], label: str) -> Markup:
    """Return a dot plot with intervals, one row per embedding, grouped by level; a dashed line marks chance."""
    row, head = 19.0, 22.0
    names = [clip(r.embedding, 20) for group in groups for _, r in group.rows]
    height = sum((head if group.title else 4) + row * len(group.rows) for group in groups)
    picture = _Picture(label, 520, height + 28, (14 + 6.3 * max(map(len, names)), 58, 4, 24))
    axes = picture.axes
    values = [v for g in groups for _, r in g.rows for v in (r.value, r.low, r.high) if v is not None]
    low, high = _range([*values, *(g.chance for g in groups if g.chance is not None)])
    axes.set_xlim(low, high)
    axes.set_ylim(height, 0)  # pixels from the top
    axes.set_yticks([])
    picture.grid("x")
    inside, outside = axes.get_yaxis_transform(), axes.get_yaxis_transform()
    y = 0.0
    for group in groups:
        if group.title:
            axes.annotate(
                clip(group.title, 40), (0, y + 15), (-picture.margins[0], 0), inside, "offset points", fontsize=12.5,
                fontweight="bold", color=INK,
            )  # fmt: skip
        y += head if group.title else 4
        if group.chance is not None and low <= group.chance <= high:
            (line,) = axes.plot(
                [group.chance] * 2, [y, y + row * len(group.rows)], color=MUTED, linewidth=1.3, dashes=(2.3, 2.3), zorder=2
            )
            picture.titled(line, f"chance level: {number(group.chance)}")
        for place, found in group.rows:
            assert found.value is not None
            middle, first = y + row / 2, place == 0
            weight: Any = "bold" if first else "normal"
            says = f"{found.embedding}: {number(found.value)}"
            if found.low is not None and found.high is not None:
                says += f" ({number(found.low)} to {number(found.high)})"
                ends = [max(low, found.low), min(high, found.high)]
                (whisker,) = axes.plot(
                    ends, [middle] * 2, color=embedding_colour(place), linewidth=2.2, alpha=0.55,
                    solid_capstyle="round", zorder=3,
                )  # fmt: skip
                picture.titled(whisker, says)
            (dot,) = axes.plot(
                found.value, middle, marker="o", markersize=10 if first else 8, color=embedding_colour(place),
                markeredgewidth=0, zorder=4,
            )  # fmt: skip
            picture.titled(dot, says)
            texts: Any = {"va": "center_baseline", "fontsize": 12, "fontweight": weight, "color": INK}
            axes.annotate(clip(found.embedding, 20), (0, middle), (-10, 0), inside, "offset points", ha="right", **texts)
            axes.annotate(number(found.value), (1, middle), (8, 0), outside, "offset points", ha="left", **texts)
            y += row
    return picture.finish()


def curve_plot(
    curves: Sequence[tuple[int, Curve]], label: str, x_title: str, y_title: str, *, ranks: bool = False
) -> Markup:
    """Return a plot of curves in the unit square with its diagonal (ROC), or over ranks on a logarithmic axis."""
    picture = _Picture(label, 340, 270, (48, 14, 10, 42))
    axes = picture.axes
    axes.set_ylim(0, 1)
    picture.grid("y", np.linspace(0, 1, 6).round(1).tolist())
    if ranks:
        axes.set_xscale("log")
        low, high = min(min(c.x) for _, c in curves), max(max(c.x) for _, c in curves)
        axes.set_xlim(low, max(high, low * 1.01))
        axes.set_xticks([], minor=True)
        picture.grid("x", [rank for rank in (1, 2, 5, 10, 20, 50, 100) if low <= rank <= high])
    else:
        axes.set_xlim(0, 1)
        picture.grid("x", np.linspace(0, 1, 6).round(1).tolist())
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.3, dashes=(2.3, 2.3))
    picture.axis_titles(x_title, y_title)
    for place, curve in reversed(curves):  # the first embedding is on top
        (line,) = axes.plot(curve.x, curve.y, color=embedding_colour(place), linewidth=2)
        picture.titled(line, curve.embedding)
        if ranks:
            dots = axes.scatter(curve.x, curve.y, s=27, color=embedding_colour(place), linewidths=0, zorder=3)
            picture.titled(
                dots, *(f"{curve.embedding}, rank {x:.0f}: {number(y)}" for x, y in zip(curve.x, curve.y, strict=True))
            )
    return picture.finish()


def size_plot(curves: Sequence[tuple[int, Curve]], label: str, x_title: str, y_title: str) -> Markup:
    """Return a plot of an estimate against the number of items it is made from, on a logarithmic axis."""
    picture = _Picture(label, 340, 270, (54, 14, 10, 42))
    axes = picture.axes
    values = [y for _, curve in curves for y in curve.y]
    sizes = sorted({x for _, curve in curves for x in curve.x})
    axes.set_xscale("log")
    axes.set_xlim(sizes[0] * 0.95, max(sizes[-1], sizes[0] + 1) * 1.05)
    axes.set_ylim(min(0.0, *values), max(values) * 1.05 or 1.0)
    axes.set_xticks([], minor=True)
    picture.grid("x", [sizes[0], sizes[len(sizes) // 2], sizes[-1]])
    picture.grid("y", np.linspace(0, max(values), 5).round(3).tolist())
    picture.axis_titles(x_title, y_title)
    for place, curve in reversed(curves):  # the first set is on top
        (line,) = axes.plot(curve.x, curve.y, color=embedding_colour(place), linewidth=2)
        picture.titled(line, curve.embedding)
    return picture.finish()


def layer_plot(rows: Sequence[LayerRow], label: str, y_title: str) -> Markup:
    """Return a plot of a metric with intervals against the layer of the encoder."""
    from matplotlib.ticker import MaxNLocator

    picture = _Picture(label, 340, 270, (54, 14, 10, 42))
    axes = picture.axes
    x, y = [row.layer for row in rows], [row.value or 0.0 for row in rows]
    low, high = _range([v for row in rows for v in (row.value, row.low, row.high) if v is not None])
    axes.set_xlim(-0.4, max(1, *x) + 0.4)
    axes.set_ylim(low, high)
    picture.grid("y")
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    picture.axis_titles("layer (0: residue embeddings)", y_title)
    axes.plot(x, y, color=EMBEDDINGS[0], linewidth=2)
    for row, value in zip(rows, y, strict=True):
        says = f"layer {row.layer}: {number(row.value)}"
        if row.low is not None and row.high is not None:
            says += f" ({number(row.low)} to {number(row.high)})"
            ends = [max(low, row.low), min(high, row.high)]
            axes.plot([row.layer] * 2, ends, color=EMBEDDINGS[0], linewidth=2.2, alpha=0.55, solid_capstyle="round")
        (dot,) = axes.plot(row.layer, value, marker="o", markersize=7, color=EMBEDDINGS[0], markeredgewidth=0)
        picture.titled(dot, says)
    return picture.finish()


def scatter(curve: Curve, place: int, label: str, x_title: str, y_title: str) -> Markup:
    """Return a scatter plot of an embedding."""
    picture = _Picture(label, 340, 270, (50, 14, 10, 42))
    picture.axes.set_xlim(min(0.0, *curve.x), max(*curve.x, 1e-9))
    picture.axes.set_ylim(min(0.0, *curve.y), max(*curve.y, 1e-9))
    picture.grid("x", most=6)
    picture.grid("y", most=6)
    picture.axis_titles(x_title, y_title)
    picture.axes.scatter(curve.x, curve.y, s=16, color=embedding_colour(place), alpha=0.45, linewidths=0, zorder=3)
    return picture.finish()


def point_colours(projection: Projection) -> list[str]:
    """Return the colour of each point by class or quantile."""
    if projection.quantity is not None:
        return [QUANTILES[min(9, int(q * 10))] for q in projection.quantity]
    return [CLASSES[code] if code >= 0 else OTHER for code in projection.code]


def map_plot(projection: Projection, label: str) -> Markup:
    """Return a map without axes; the tooltip of a point has its id and label."""
    picture = _Picture(label, 510, 430, (10, 10, 10, 10))
    axes = picture.axes
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    colours = np.array(point_colours(projection))
    x, y = np.array(projection.x), np.array(projection.y)
    for colour in sorted(set(colours), key=lambda colour: (colour != OTHER, colour)):  # other classes are below
        rows = np.flatnonzero(colours == colour)
        size, edge = (23.0, 0.0) if colour == OTHER else (46.0, 0.5)
        points = axes.scatter(x[rows], y[rows], s=size, color=colour, linewidths=edge, edgecolors=CARD)
        named = ((projection.id[row], projection.label[row]) for row in rows)
        picture.titled(points, *(f"{name} · {text}" if text else name for name, text in named))
    return picture.finish()


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of an axis: they include 0, and do not exceed 1 for values in [0, 1]."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(values), max(values)
    if low >= 0:
        low, high = 0.0, min(1.0, max(high * 1.08, 1e-3)) if high <= 1 else high
    else:
        gap = (high - low) or abs(high) or 1.0
        low, high = low - 0.04 * gap, high + 0.04 * gap
        high = 0.0 if high < 0 else high
    ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high if high > low else low + 1)
    return float(ticks[0]), float(ticks[-1])
