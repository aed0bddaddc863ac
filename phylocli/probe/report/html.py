"""The page: `report.html`, drawn from what `report.json` holds and from nothing else."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from markupsafe import Markup

from phylocli.probe.report import svg as _svg

SIGNIFICANT = 0.05
COLOURS = 8
_PLOT_NAMES = {"recall at rank": "rank", "patristic scatter": "patristic"}


def _style() -> tuple[str, str]:
    """Return the style sheet and its hash as a Content-Security-Policy names it."""
    style = files("phylocli.probe.report").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return style, f"sha256-{digest}"


class _Page:
    """What the template asks of a report."""

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        self.names: list[str] = [e["name"] for e in report["embeddings"]]
        self.colour = {name: min(i, COLOURS - 1) for i, name in enumerate(self.names)}
        self._value = {(m["embedding"], m["task"], m["level"], m["metric"]): m for m in report["metrics"]}
        self._difference = {(d["other"], d["task"], d["level"], d["metric"]): d for d in report["differences"]}

    def value(self, name: str, task: str, level: str, metric: str) -> dict[str, Any] | None:
        """Return a row of the metrics, None where there is none or its value is no number."""
        row = self._value.get((name, task, level, metric))
        return row if row and row["value"] is not None else None

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each task and level whose headline metric has a better direction."""
        rows = []
        for task in self.report["tasks"]:
            metric, about = next(iter(task["metrics"].items()))
            if about["better"] is None:
                continue
            for level in task["levels"]:
                cells = [self.value(name, task["name"], level, metric) for name in self.names]
                if cells[0] is None:
                    continue
                sign = 1 if about["better"] == "higher" else -1
                others = [c for c in cells[1:] if c is not None]
                best = max(others, key=lambda c: sign * c["value"]) if others else None
                top = max(sign * c["value"] for c in cells if c is not None)
                chance = self.value("chance", task["name"], level, metric)
                row = {
                    "task": task["title"],
                    "level": level,
                    "metric": metric,
                    "lower": about["better"] == "lower",
                    "n": cells[0]["n"],
                    "chance": chance["value"] if chance else None,
                    "cells": [
                        {
                            "row": cell,
                            "best": cell is not None and sign * cell["value"] == top and len(self.names) > 1,
                            "bar": _svg.bar(max(0.0, cell["value"]), i) if cell and -1 <= cell["value"] <= 1 else "",
                        }
                        for i, cell in enumerate(cells)
                    ],
                }
                if best is not None:
                    row.update(self._verdict(best["embedding"], task["name"], level, metric, sign))
                rows.append(row)
        return rows

    def _verdict(self, other: str, task: str, level: str, metric: str, sign: int) -> dict[str, Any]:
        found = self._difference[(other, task, level, metric)]
        p = found.get("p_holm")
        clear = p is not None and p < SIGNIFICANT
        ahead = (found["difference"] or 0.0) * sign > 0
        return {"other": other, "difference": found, "verdict": ("better" if ahead else "worse") if clear else "unclear"}

    def headline(self) -> dict[str, int]:
        """Return how many headline comparisons with the best other embedding are better, worse, or not clear."""
        counts = {"better": 0, "worse": 0, "unclear": 0}
        for row in self.summary():
            if "verdict" in row:
                counts[row["verdict"]] += 1
        return counts

    def plots(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the dot plots of a task, one a metric."""
        found = []
        for metric, about in task["metrics"].items():
            groups = []
            for level in task["levels"]:
                rows = [(name, self.value(name, task["name"], level, metric)) for name in self.names]
                dots = [_svg.Dot(n, self.colour[n], r["value"], r["low"], r["high"]) for n, r in rows if r is not None]
                chance = self.value("chance", task["name"], level, metric)
                if dots:
                    title = level if len(task["levels"]) > 1 else ""
                    groups.append(_svg.DotGroup(title, dots, chance["value"] if chance else None))
            if groups:
                found.append(
                    {"metric": metric, "better": about["better"], "svg": _svg.dot_plot(groups, f"{task['title']}: {metric}")}
                )
        return found

    def curves(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the curve plots of a task: recall at rank and ROC by level, patristic scatter by embedding."""
        found = []
        for level in task["levels"]:
            curves = [c for c in self.report["curves"] if c["task"] == task["name"] and c["level"] == level and c["x"]]
            ranks = [c for c in curves if c["name"] == "recall at rank"]
            if ranks:
                lines = [_svg.Line(c["embedding"], self.colour[c["embedding"]], c["x"], c["y"]) for c in ranks]
                svg = _svg.line_plot(lines, f"recall at rank, {level}", "rank", "queries with a relative found")
                found.append({"title": f"Recall at rank: {level}", "svg": svg})
            areas = [c for c in curves if c["name"] == "ROC"]
            if areas:
                lines = [_svg.Line(c["embedding"], self.colour[c["embedding"]], c["x"], c["y"]) for c in areas]
                svg = _svg.share_plot(lines, f"ROC, {level}", "share of strangers", "share of relatives")
                found.append({"title": f"ROC: {level}", "svg": svg})
            for curve in [c for c in curves if c["name"] == "patristic scatter"][:3]:
                name = curve["embedding"]
                svg = _svg.scatter(
                    curve["x"],
                    curve["y"],
                    self.colour[name],
                    f"patristic and embedding distance, {name}",
                    "patristic distance, substitutions per site",
                    "cosine distance",
                )
                found.append({"title": name, "svg": svg})
        return found

    def layers(self) -> list[dict[str, Any]]:
        """Return the plots of each headline against the depth of the encoder."""
        found = []
        for task in self.report["tasks"]:
            for level in task["levels"]:
                rows = [r for r in self.report["layers"] if r["task"] == task["name"] and r["level"] == level]
                points = [
                    _svg.LayerPoint(r["layer"], r["value"], r["low"], r["high"]) for r in rows if r["value"] is not None
                ]
                if points:
                    title = f"{task['title']}: {level}"
                    svg = _svg.layer_plot(points, f"{title} by layer", rows[0]["metric"])
                    found.append({"title": title, "svg": svg})
        return found

    def maps(self) -> list[dict[str, Any]]:
        """Return the maps with their legends."""
        found = []
        for item in self.report["maps"]:
            if item["quantity"] is not None:
                colours = [f"q{min(9, int(q * 10))}" for q in item["quantity"]]
            else:
                colours = [f"m{c}" if c >= 0 else "other" for c in item["code"]]
            titles = [f"{i} · {t}" if t else i for i, t in zip(item["id"], item["label"], strict=True)]
            svg = _svg.map_plot(item["x"], item["y"], colours, titles, f"map of {item['embedding']}")
            found.append({**item, "svg": svg, "others": any(c < 0 for c in item["code"]) and item["quantity"] is None})
        return found

    def notes(self, task: dict[str, Any]) -> list[dict[str, str]]:
        """Return what each level of a task was scored on."""
        return [n for n in self.report["notes"] if n["task"] == task["name"]]


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _signed(value: float | None) -> str:
    if value is None:
        return "–"
    return ("+" if value > 0 else "") + _svg.number(value)


def _command(words: list[str]) -> str:
    """Return the command as one would type it: the program by its name, not by where it lies."""
    if not words:
        return ""
    program = PurePath(words[0]).name
    return shlex.join(["phylocli" if program in ("__main__.py", "phylocli") else program, *words[1:]])


def _cell(text: object) -> str:
    """Return a text as a cell of a Markdown table: no markup, no cell borders."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in " ".join(str(text).split()))


def _with_interval(value: float, low: float | None, high: float | None, shown: Callable[[float], str]) -> str:
    return shown(value) if low is None or high is None else f"{shown(value)} ({shown(low)} to {shown(high)})"


def summarise(report: dict[str, Any]) -> str:
    """Return the summary table of a report as Markdown, for a commit message, an issue or a notebook.

    Args:
        report: what `report.json` holds.
    """
    page = _Page(report)
    heads = ["question", *page.names, "chance", "first minus best other", "p, corrected"]
    lines = [f"# {_cell(report['title'])}", "", "| " + " | ".join(map(_cell, heads)) + " |", "|" + "---|" * len(heads)]
    for row in page.summary():
        cells = [f"{row['task']}, {row['level']}: {row['metric']} (n = {row['n']:,})"]
        for cell in row["cells"]:
            found = cell["row"]
            cells.append("–" if found is None else _with_interval(found["value"], found["low"], found["high"], _svg.number))
        cells.append("–" if row["chance"] is None else _svg.number(row["chance"]))
        gap = row.get("difference")
        if gap:
            cells += [_with_interval(gap["difference"], gap["low"], gap["high"], _signed), _p(gap["p_holm"])]
        else:
            cells += ["–", "–"]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    said = (
        f"95 % bootstrap intervals, {report['replicates']:,} replicates; differences are paired, p-values corrected (Holm)."
    )
    lines += ["", said]
    return "\n".join(lines) + "\n"


def render(report: dict[str, Any]) -> str:
    """Return the page of a report, one self-contained HTML document.

    It loads nothing from elsewhere and runs no script: its Content-Security-Policy allows the one style sheet within, by its
    hash. Names from the data are escaped wherever they stand.

    Args:
        report: what `report.json` holds.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("phylocli.probe.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=lambda v: "–" if v is None else _svg.number(v), signed=_signed, p=_p, clip=_svg.clip)
    style, digest = _style()
    page = _Page(report)
    return environment.get_template("report.html.j2").render(
        page=page,
        report=report,
        style=Markup(style),
        style_hash=digest,
        command=_command(report["provenance"]["command"]),
        summary=page.summary(),
        counts=page.headline(),
    )
