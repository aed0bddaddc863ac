"""Plots as inline SVG: drawn with classes that the page's style sheet colours, so that they follow light, dark and print.

Every text goes through `escape`; nothing here takes markup from outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CHARACTER = 6.3
"""Mean width of a character at the plots' 12 px, for margins."""


def clip(text: str, width: int) -> str:
    """Return a text of at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def number(value: float) -> str:
    """Return a figure with two to four significant digits."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits = 1 if size >= 10 else 2 if size >= 1.005 else 3 if size >= 0.00995 or size < 5e-5 else 4
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def tick(value: float) -> str:
    """Return a round value as an axis shows it: no more digits than it needs."""
    return "0" if abs(value) < 1e-9 else f"{round(value, 9):,g}".replace("-", "−")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values within [low, high], at most `most`, at steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(first * step)
        first += 1
    return found


class Canvas:
    """An SVG that is written from front to back."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self._parts = [
            Markup('<svg viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" height="{:.0f}" role="img" aria-label="{}">').format(
                width, height, width, height, escape(label)
            )
        ]

    def add(self, template: str, *values: object) -> None:
        """Add markup written here, its `{}` filled with escaped values (numbers with one decimal)."""
        shown = [f"{v:.1f}" if isinstance(v, float) else v for v in values]
        self._parts.append(Markup(template).format(*shown))

    def text(self, x: float, y: float, text: str, style: str = "", anchor: str = "start") -> None:
        """Add a text."""
        self.add('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', float(x), float(y), style, anchor, text)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Add a line."""
        self.add('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>', float(x1), float(y1), float(x2), float(y2), style)

    def side_title(self, y: float, text: str) -> None:
        """Write the title of a vertical axis at the left edge, centred at `y`."""
        template = '<text transform="translate(12 {}) rotate(-90)" class="axis-title" text-anchor="middle">{}</text>'
        self.add(template, y, text)

    def finish(self) -> Markup:
        """Return the SVG."""
        return Markup("").join([*self._parts, Markup("</svg>")])


@dataclass
class Dot:
    """One value with its interval; `colour` is the index of its embedding."""

    name: str
    colour: int
    value: float
    low: float | None
    high: float | None


@dataclass
class DotGroup:
    """The dots of one level, and its chance level."""

    title: str
    dots: list[Dot]
    chance: float | None = None


def _domain(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0:
        low = 0.0
        if high <= 1:
            high = min(1.0, max(high * 1.08, 1e-3))
    else:
        gap = (high - low) or abs(high) or 1.0
        low, high = low - 0.04 * gap, high + 0.04 * gap
        if high < 0:
            high = 0.0
    if high <= low:
        high = low + 1.0
    marks = ticks(low, high, 5)
    step = marks[1] - marks[0] if len(marks) > 1 else high - low
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def dot_plot(groups: Sequence[DotGroup], label: str, width: float = 520) -> Markup:
    """Return dots with intervals, one row an embedding, in groups by level; a dashed line marks chance."""
    row, head, foot, top = 19.0, 22.0, 24.0, 4.0
    numbers = [v for g in groups for d in g.dots for v in (d.value, d.low, d.high) if v is not None]
    numbers += [g.chance for g in groups if g.chance is not None]
    if not numbers:
        return Markup("")
    low, high = _domain(numbers)
    left = 14 + CHARACTER * min(20, max((len(d.name) for g in groups for d in g.dots), default=4))
    right = 58.0
    titled = len(groups) > 1 or bool(groups[0].title)
    height = top + sum((head if titled else 4) + row * len(g.dots) for g in groups) + foot
    canvas = Canvas(width, height, label)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    for mark in ticks(low, high, 5):
        canvas.line(at(mark), top, at(mark), height - foot, "grid")
        canvas.text(at(mark), height - foot + 15, tick(mark), "tick", "middle")
    y = top
    for group in groups:
        if titled:
            canvas.text(0, y + 15, clip(group.title, 40), "level")
            y += head
        else:
            y += 4
        if group.chance is not None and low <= group.chance <= high:
            canvas.add('<g class="chance"><title>{}</title>', f"chance level: {number(group.chance)}")
            canvas.line(at(group.chance), y, at(group.chance), y + row * len(group.dots), "chance")
            canvas.add("</g>")
        for dot in group.dots:
            middle = y + row / 2
            said = f"{dot.name}: {number(dot.value)}"
            if dot.low is not None and dot.high is not None:
                said += f" ({number(dot.low)} to {number(dot.high)})"
            canvas.add('<g class="e{}"><title>{}</title>', dot.colour, said)
            canvas.text(left - 10, middle + 4, clip(dot.name, 20), "name" + (" first" if dot.colour == 0 else ""), "end")
            if dot.low is not None and dot.high is not None:
                canvas.line(at(max(low, dot.low)), middle, at(min(high, dot.high)), middle, "whisker")
            canvas.add(
                '<circle cx="{}" cy="{}" r="{}" class="dot"/>', at(dot.value), middle, 5.0 if dot.colour == 0 else 4.0
            )
            canvas.text(width - right + 8, middle + 4, number(dot.value), "value" + (" first" if dot.colour == 0 else ""))
            canvas.add("</g>")
            y += row
    return canvas.finish()


@dataclass
class Line:
    """One curve; `colour` is the index of its embedding."""

    name: str
    colour: int
    x: Sequence[float]
    y: Sequence[float]


def line_plot(
    lines: Sequence[Line], label: str, x_title: str, y_title: str, width: float = 340, height: float = 270
) -> Markup:
    """Return curves over a logarithmic x axis and y from 0 to 1."""
    left, right, top, foot = 44.0, 14.0, 10.0, 42.0
    canvas = Canvas(width, height, label)
    x_low, x_high = min(min(k.x) for k in lines), max(max(k.x) for k in lines)

    def at_x(value: float) -> float:
        return left + math.log(value / x_low) / math.log(x_high / x_low) * (width - left - right)

    def at_y(value: float) -> float:
        return height - foot - value * (height - top - foot)

    for mark in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        canvas.line(left, at_y(mark), width - right, at_y(mark), "grid")
        canvas.text(left - 7, at_y(mark) + 4, f"{mark:.1f}", "tick", "end")
    for mark in (1, 2, 5, 10, 20, 50, 100):
        if x_low <= mark <= x_high:
            canvas.line(at_x(mark), height - foot, at_x(mark), height - foot + 4, "axis")
            canvas.text(at_x(mark), height - foot + 16, str(mark), "tick", "middle")
    canvas.text((left + width - right) / 2, height - 8, x_title, "axis-title", "middle")
    canvas.side_title((top + height - foot) / 2, y_title)
    for line in reversed(lines):  # the first embedding lies on top
        points = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        canvas.add('<g class="e{}"><title>{}</title><polyline points="{}" class="curve"/>', line.colour, line.name, points)
        for x, y in zip(line.x, line.y, strict=True):
            canvas.add('<circle cx="{}" cy="{}" r="2.6" class="dot"><title>{}</title></circle>', at_x(x), at_y(y),
                       f"{line.name}, rank {x:.0f}: {number(y)}")  # fmt: skip
        canvas.add("</g>")
    return canvas.finish()


def share_plot(lines: Sequence[Line], label: str, x_title: str, y_title: str) -> Markup:
    """Return curves in the unit square with its diagonal, as for ROC."""
    width, height, left, right, top, foot = 340.0, 270.0, 44.0, 14.0, 10.0, 42.0
    canvas = Canvas(width, height, label)

    def at_x(value: float) -> float:
        return left + value * (width - left - right)

    def at_y(value: float) -> float:
        return height - foot - value * (height - top - foot)

    for mark in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        canvas.line(left, at_y(mark), width - right, at_y(mark), "grid")
        canvas.text(left - 7, at_y(mark) + 4, f"{mark:.1f}", "tick", "end")
        canvas.text(at_x(mark), height - foot + 16, f"{mark:.1f}", "tick", "middle")
    canvas.line(at_x(0), at_y(0), at_x(1), at_y(1), "chance")
    canvas.text((left + width - right) / 2, height - 8, x_title, "axis-title", "middle")
    canvas.side_title((top + height - foot) / 2, y_title)
    for line in reversed(lines):  # the first embedding lies on top
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
        canvas.add('<g class="e{}"><title>{}</title><polyline points="{}" class="curve"/></g>', line.colour, line.name, path)
    return canvas.finish()


@dataclass
class LayerPoint:
    """One figure at one layer with its interval."""

    layer: int
    value: float
    low: float | None
    high: float | None


def layer_plot(points: Sequence[LayerPoint], label: str, y_title: str) -> Markup:
    """Return a figure against the depth of the encoder, with intervals."""
    width, height, left, right, top, foot = 340.0, 270.0, 54.0, 14.0, 10.0, 42.0
    canvas = Canvas(width, height, label)
    deepest = max(1, *(p.layer for p in points))
    low, high = _domain([v for p in points for v in (p.value, p.low, p.high) if v is not None])

    def at_x(layer: float) -> float:
        return left + 8 + layer / deepest * (width - left - right - 16)

    def at_y(value: float) -> float:
        return height - foot - (value - low) / (high - low) * (height - top - foot)

    for mark in ticks(low, high, 6):
        canvas.line(left, at_y(mark), width - right, at_y(mark), "grid")
        canvas.text(left - 7, at_y(mark) + 4, tick(mark), "tick", "end")
    for layer in ticks(0, deepest, 9):
        if layer == round(layer):
            canvas.text(at_x(layer), height - foot + 16, str(round(layer)), "tick", "middle")
    canvas.text((left + width - right) / 2, height - 8, "layer (0: the residues' own vectors)", "axis-title", "middle")
    canvas.side_title((top + height - foot) / 2, y_title)
    path = " ".join(f"{at_x(p.layer):.1f},{at_y(p.value):.1f}" for p in points)
    canvas.add('<g class="e0"><polyline points="{}" class="curve"/>', path)
    for p in points:
        said = f"layer {p.layer}: {number(p.value)}"
        if p.low is not None and p.high is not None:
            canvas.line(at_x(p.layer), at_y(max(low, p.low)), at_x(p.layer), at_y(min(high, p.high)), "whisker")
            said += f" ({number(p.low)} to {number(p.high)})"
        canvas.add(
            '<circle cx="{}" cy="{}" r="3.4" class="dot"><title>{}</title></circle>', at_x(p.layer), at_y(p.value), said
        )
    canvas.add("</g>")
    return canvas.finish()


def scatter(x: Sequence[float], y: Sequence[float], colour: int, label: str, x_title: str, y_title: str) -> Markup:
    """Return a cloud of points of one embedding with its axes."""
    width, height, left, right, top, foot = 340.0, 270.0, 50.0, 14.0, 10.0, 42.0
    canvas = Canvas(width, height, label)
    x_low, x_high = min(0.0, *x), max(*x, 1e-9)
    y_low, y_high = min(0.0, *y), max(*y, 1e-9)

    def at_x(value: float) -> float:
        return left + (value - x_low) / (x_high - x_low) * (width - left - right)

    def at_y(value: float) -> float:
        return height - foot - (value - y_low) / (y_high - y_low) * (height - top - foot)

    for mark in ticks(y_low, y_high, 6):
        canvas.line(left, at_y(mark), width - right, at_y(mark), "grid")
        canvas.text(left - 7, at_y(mark) + 4, tick(mark), "tick", "end")
    for mark in ticks(x_low, x_high, 6):
        canvas.line(at_x(mark), height - foot, at_x(mark), height - foot + 4, "axis")
        canvas.text(at_x(mark), height - foot + 16, tick(mark), "tick", "middle")
    canvas.text((left + width - right) / 2, height - 8, x_title, "axis-title", "middle")
    canvas.side_title((top + height - foot) / 2, y_title)
    canvas.add('<g class="e{} cloud">', colour)
    for a, b in zip(x, y, strict=True):
        canvas.add('<circle cx="{}" cy="{}" r="2"/>', at_x(a), at_y(b))
    canvas.add("</g>")
    return canvas.finish()


def map_plot(
    x: Sequence[float],
    y: Sequence[float],
    colours: Sequence[str],
    titles: Sequence[str],
    label: str,
    width: float = 510,
    height: float = 430,
) -> Markup:
    """Return a map without axes: x and y within 0 … 1, one colour class and one hover text a point."""
    edge = 10.0
    canvas = Canvas(width, height, label)
    canvas.add('<g class="map">')
    for grey in (True, False):  # the unnamed classes lie below
        for a, b, colour, title in zip(x, y, colours, titles, strict=True):
            if (colour == "other") is grey:
                canvas.add(
                    '<circle cx="{}" cy="{}" r="{}" class="{}"><title>{}</title></circle>',
                    edge + float(a) * (width - 2 * edge),
                    edge + float(b) * (height - 2 * edge),
                    2.4 if grey else 3.4,
                    colour,
                    title,
                )
    canvas.add("</g>")
    return canvas.finish()


def bar(share: float, colour: int) -> Markup:
    """Return a thin bar of this share of its width, for table cells."""
    canvas = Canvas(96, 4, "")
    canvas.add('<rect width="96" height="4" rx="2" class="track"/>')
    canvas.add('<rect width="{}" height="4" rx="2" class="fill e{}"/>', 96 * min(1.0, max(0.0, share)), colour)
    return canvas.finish()
