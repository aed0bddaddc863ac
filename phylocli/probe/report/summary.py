"""The summary of a report: headline metrics, and the comparison of the first embedding with the best other one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phylocli.probe.report.data import DifferenceRow, MetricRow, ReportData

SIGNIFICANT = 0.05

Verdict = Literal["better", "worse", "unclear"]


@dataclass(frozen=True)
class SummaryRow:
    """The headline metric of a task at a level.

    Attributes:
        task: title of the task.
        level, metric: names of level and metric.
        lower: whether lower is better.
        n: number of items of the first embedding's value.
        chance: the chance level; None if there is none.
        cells: the value of each embedding, in order; None if it has none.
        best: whether each value is the best of several.
        difference: the first embedding minus the best other one; None if there is no other.
        verdict: result of the comparison, significant at a corrected p below `SIGNIFICANT`.
    """

    task: str
    level: str
    metric: str
    lower: bool
    n: int
    chance: float | None
    cells: list[MetricRow | None]
    best: list[bool]
    difference: DifferenceRow | None = None
    verdict: Verdict | None = None


class Values:
    """Access to the values of a report by embedding, task, level and metric."""

    def __init__(self, report: ReportData) -> None:
        self._rows = {(row.embedding, row.task, row.level, row.metric): row for row in report.metrics}

    def __call__(self, embedding: str, task: str, level: str, metric: str) -> MetricRow | None:
        """Return a row of the metrics; None if it is missing or its value is not finite."""
        row = self._rows.get((embedding, task, level, metric))
        return row if row is not None and row.value is not None else None


def summary(report: ReportData) -> list[SummaryRow]:
    """Return a row for each task and level whose headline metric has a preferred direction."""
    names = [embedding.name for embedding in report.embeddings]
    value = Values(report)
    differences = {(d.other, d.task, d.level, d.metric): d for d in report.differences}
    rows = []
    for task in report.tasks:
        metric, about = next(iter(task.metrics.items()))
        if about.better is None:
            continue
        sign = 1 if about.better == "higher" else -1
        for level in task.levels:
            cells = [value(name, task.name, level, metric) for name in names]
            first = cells[0]
            if first is None:
                continue
            scores = [None if cell is None else sign * (cell.value or 0.0) for cell in cells]
            top = max(score for score in scores if score is not None)
            others = [cell for cell in cells[1:] if cell is not None]
            gap, verdict = None, None
            if others:
                best = max(others, key=lambda cell: sign * (cell.value or 0.0))
                gap = differences.get((best.embedding, task.name, level, metric))  # none of generated sequences
                verdict = None if gap is None else _verdict(gap, sign)
            chance = value("chance", task.name, level, metric)
            rows.append(
                SummaryRow(
                    task=task.title,
                    level=level,
                    metric=metric,
                    lower=about.better == "lower",
                    n=first.n,
                    chance=None if chance is None else chance.value,
                    cells=cells,
                    best=[score == top and len(names) > 1 for score in scores],
                    difference=gap,
                    verdict=verdict,
                )
            )
    return rows


def _verdict(gap: DifferenceRow, sign: int) -> Verdict:
    if gap.p_holm is None or gap.p_holm >= SIGNIFICANT:
        return "unclear"
    return "better" if (gap.difference or 0.0) * sign > 0 else "worse"
