"""Rendering of `report.html` from the report's data."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath

from markupsafe import Markup

from phylocli.probe.report import plots
from phylocli.probe.report.data import Curve, Note, Projection, ReportData, TaskInfo
from phylocli.probe.report.numbers import clip, number, p_value, signed
from phylocli.probe.report.summary import Values, summary

COLOURS = len(plots.EMBEDDINGS)


def _style() -> tuple[str, str]:
    """Return the style sheet, and its hash in the format of a Content-Security-Policy."""
    sheet = files("phylocli.probe.report").joinpath("report.css").read_text(encoding="utf-8")
    style = f"{plots.light_css()}\n{sheet}{plots.theme_css()}\n"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return style, f"sha256-{digest}"


@dataclass(frozen=True)
class Plot:
    """A plot with its title; `lower` if lower values are better."""

    title: str
    svg: Markup
    lower: bool = False


class _Page:
    """The methods that the template calls."""

    def __init__(self, report: ReportData) -> None:
        self.report = report
        self.names = [embedding.name for embedding in report.embeddings]
        self.colour = {name: min(i, COLOURS - 1) for i, name in enumerate(self.names)}
        self._value = Values(report)

    def plots(self, task: TaskInfo) -> list[Plot]:
        """Return the dot plots of a task, one per metric."""
        found = []
        for metric, about in task.metrics.items():
            groups = []
            for level in task.levels:
                values = [self._value(name, task.name, level, metric) for name in self.names]
                rows = [(place, row) for place, row in enumerate(values) if row is not None]
                chance = self._value("chance", task.name, level, metric)
                if rows:
                    title = level if len(task.levels) > 1 else ""
                    groups.append(plots.DotGroup(title, rows, chance.value if chance else None))
            if groups:
                svg = plots.dot_plot(groups, f"{task.title}: {metric}")
                found.append(Plot(metric, svg, lower=about.better == "lower"))
        return found

    def curves(self, task: TaskInfo) -> list[Plot]:
        """Return the curve plots of a task: recall at rank, ROC and Fréchet distances by level, patristic scatter."""
        found = []
        for level in task.levels:
            by_name: dict[str, list[tuple[int, Curve]]] = {}
            for curve in self.report.curves:
                if (curve.task, curve.level) == (task.name, level) and curve.x:
                    by_name.setdefault(curve.name, []).append((self.names.index(curve.embedding), curve))
            if ranks := by_name.get("recall at rank"):
                label, axes = f"Recall at rank: {level}", ("rank", "fraction of queries with a homolog found")
                found.append(Plot(label, plots.curve_plot(ranks, label, *axes, ranks=True)))
            if areas := by_name.get("ROC"):
                label, axes = f"ROC: {level}", ("false positive rate", "true positive rate")
                found.append(Plot(label, plots.curve_plot(areas, label, *axes)))
            if sizes := by_name.get("Fréchet distance by number of sequences"):
                label, axes = f"Fréchet distance by number of sequences: {level}", ("sequences", "Fréchet distance")
                found.append(Plot(label, plots.size_plot(sizes, label, *axes)))
            for place, cloud in by_name.get("patristic scatter", [])[:3]:
                label = f"patristic and embedding distance, {cloud.embedding}"
                axes = ("patristic distance, substitutions per site", "cosine distance")
                found.append(Plot(cloud.embedding, plots.scatter(cloud, place, label, *axes)))
        return found

    def layers(self) -> list[Plot]:
        """Return the plots of each headline metric against the layer of the encoder."""
        found = []
        for task in self.report.tasks:
            for level in task.levels:
                rows = [row for row in self.report.layers if (row.task, row.level) == (task.name, level)]
                rows = [row for row in rows if row.value is not None]
                if rows:
                    title = f"{task.title}: {level}"
                    found.append(Plot(title, plots.layer_plot(rows, f"{title} by layer", rows[0].metric)))
        return found

    def map(self, projection: Projection) -> Markup:
        """Return the plot of a projection."""
        return plots.map_plot(projection, f"map of {projection.embedding}")

    def notes(self, task: TaskInfo) -> list[Note]:
        """Return the notes on the scored items of each level of a task."""
        return [note for note in self.report.notes if note.task == task.name]


def _command(words: list[str]) -> str:
    """Return the command line, with the name of the program instead of its path."""
    if not words:
        return ""
    program = PurePath(words[0]).name
    return shlex.join(["phylocli" if program in ("__main__.py", "phylocli") else program, *words[1:]])


def render(report: ReportData) -> str:
    """Return a report as a self-contained HTML document.

    The document loads nothing and runs no scripts. Its Content-Security-Policy allows only the embedded style sheet, by
    hash. All text from the data is escaped.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("phylocli.probe.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=signed, p=p_value, clip=clip)
    style, digest = _style()
    rows = summary(report)
    return environment.get_template("report.html.j2").render(
        page=_Page(report),
        report=report,
        style=Markup(style),
        style_hash=digest,
        command=_command(report.provenance.get("command", [])),
        summary=rows,
        counts=Counter(row.verdict for row in rows if row.verdict),
    )
