"""`report.md`: the summary table of a report in Markdown."""

from __future__ import annotations

from collections.abc import Callable

from phylocli.probe.report.data import ReportData
from phylocli.probe.report.numbers import number, p_value, signed
from phylocli.probe.report.summary import summary


def _cell(text: object) -> str:
    """Escape a text for a cell of a Markdown table."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|#" else c for c in " ".join(str(text).split()))


def _with_interval(value: float | None, low: float | None, high: float | None, shown: Callable[[float | None], str]) -> str:
    return shown(value) if low is None or high is None else f"{shown(value)} ({shown(low)} to {shown(high)})"


def summarise(report: ReportData) -> str:
    """Return the summary table of a report as Markdown."""
    compared = bool(report.differences)
    heads = ["question", *(e.name for e in report.embeddings), "chance"]
    heads += ["first minus best other", "p, corrected"] if compared else []
    lines = [f"# {_cell(report.title)}", "", "| " + " | ".join(map(_cell, heads)) + " |", "|" + "---|" * len(heads)]
    for row in summary(report):
        cells = [f"{row.task}, {row.level}: {row.metric} (n = {row.n:,})"]
        for cell in row.cells:
            cells.append("–" if cell is None else _with_interval(cell.value, cell.low, cell.high, number))
        cells.append(number(row.chance))
        gap = row.difference
        if gap is not None:
            cells += [_with_interval(gap.difference, gap.low, gap.high, signed), p_value(gap.p_holm)]
        elif compared:
            cells += ["–", "–"]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    method = f"95 % bootstrap intervals, {report.replicates:,} replicates"
    if compared:
        method += "; differences are paired, p-values corrected (Holm)"
    return "\n".join([*lines, "", f"{method}."]) + "\n"
