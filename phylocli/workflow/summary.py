"""What a run has made, in numbers: the table at its end, and files for MultiQC.

The files are custom content of MultiQC (https://docs.seqera.io/multiqc/custom_content), which finds them by their names: the
run as a row of a table, its families as rows of another, and the time of each stage as a bar. Reports on several runs have a
row and a bar for each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from phylocli.core import console
from phylocli.core.words import counted
from phylocli.formats.family import Family
from phylocli.formats.streams import write_text
from phylocli.workflow.stages import Rows

SHOWN_TASKS = ("retrieval", "patristic", "classification")
"""Probes whose metrics are in the table of runs."""

Value = int | float


@dataclass
class Summary:
    """The numbers of a run.

    Attributes:
        name: of the run: its folder.
        seconds: of each stage, in order; of one that was skipped, when it ran.
        skipped: stages that did not run this time.
        totals: numbers by name, such as `families`.
        families: for each family its `members`, match `columns`, and the `tree_length` in substitutions per site.
        made: for each stage, in words.
    """

    name: str
    seconds: dict[str, float]
    skipped: set[str]
    totals: dict[str, Value] = field(default_factory=dict)
    families: Rows = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the table of stages as text."""
        rows = [
            (name, "unchanged" if name in self.skipped else console.duration(seconds), self.made.get(name, ""))
            for name, seconds in self.seconds.items()
        ]
        ran = sum(seconds for name, seconds in self.seconds.items() if name not in self.skipped)
        rows = [("stage", "time", "result"), *rows, ("total", console.duration(ran), "")]
        first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
        return [f"{a:<{first}}  {b:>{second}}  {c}".rstrip() for a, b, c in rows]


def tally(families: Iterable[Family], rows: Rows) -> Iterator[Family]:
    """Yield families, and add for each its `members`, match `columns`, and the `tree_length` if it has a tree."""
    for family in families:
        row: dict[str, Value] = {"members": len(family), "columns": int(family.match_columns().sum())}
        if family.has_tree:
            row["tree_length"] = round(float(np.nansum(family.require_tree().length)), 4)
        rows[family.label] = row
        yield family


def summarise(
    name: str,
    seconds: dict[str, float],
    skipped: set[str],
    *,
    made: Mapping[str, Rows],
    split: Path | None,
    pairs: Path | None,
    embeddings: Path,
    metrics: Path,
) -> Summary:
    """Return the numbers of a run.

    Args:
        name, seconds, skipped: see `Summary`.
        made: what the stages `align` and `tree` have made, as returned by `tally`.
        split, pairs, embeddings, metrics: files of the run; None stands for files that it does not have.
    """
    import polars as pl
    import pyarrow.parquet as pq

    from phylocli.pairs import Split
    from phylocli.pairs.splits import PARTS

    found = Summary(name, seconds, skipped)
    for stage, rows in made.items():
        members = sum(int(row["members"]) for row in rows.values())
        found.made[stage] = f"{counted(len(rows), 'family')}, {counted(members, 'member')}"
        found.totals |= {"families": len(rows), "members": members}
        found.families = rows
    if split is not None:
        parts = Split.read(split).table["part"]
        sizes = {part: int((parts == part).sum()) for part in PARTS}
        found.totals |= {f"{part}_members": size for part, size in sizes.items()}
        found.made["split"] = ", ".join(f"{size:,} {part}" for part, size in sizes.items())
    if pairs is not None:
        found.totals["pairs"] = pq.read_metadata(pairs).num_rows
        found.made["pairs"] = counted(int(found.totals["pairs"]), "pair")
    vectors = pq.read_metadata(embeddings).num_rows
    found.made["embed"] = f"{vectors:,} embeddings"
    table = pl.read_parquet(metrics).filter(
        pl.col("embedding") == embeddings.stem, pl.col("task").is_in(SHOWN_TASKS), pl.col("value").is_finite()
    )
    for task, level, metric, value in table.select("task", "level", "metric", "value").iter_rows():
        found.totals[f"{task}, {level}: {metric}"] = round(value, 6)
    if len(table):
        task, level, metric, value = table.select("task", "level", "metric", "value").row(0)
        found.made["probe"] = f"{task} ({level}): {metric} {value:.3f}"
    return found


def write_multiqc(summary: Summary, folder: Path) -> None:
    """Write the three files of a summary into a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    about = "Protein families to embeddings (phylocli run)."
    contents = {
        "run": ("phylocli: runs", about, "table", {summary.name: summary.totals}),
        "families": (
            "phylocli: families",
            "Members, match columns of the alignment, and length of the tree in substitutions per site.",
            "table",
            {f"{summary.name} {label}": row for label, row in summary.families.items()},
        ),
        "stages": ("phylocli: time of the stages", "Wall time in seconds.", "bargraph", {summary.name: summary.seconds}),
    }
    for name, (title, description, kind, data) in contents.items():
        content: dict[str, object] = {
            "id": f"phylocli_{name}",
            "section_name": title,
            "description": description,
            "plot_type": kind,
            "pconfig": {"id": f"phylocli_{name}_plot", "title": title, **({"ylab": "seconds"} if kind != "table" else {})},
            "data": data,
        }
        if kind == "table":
            content["headers"] = {column: _header(column, data) for column in _columns(data)}
        write_text(folder / f"phylocli_{name}_mqc.json", json.dumps(content, indent=1) + "\n")


def _columns(data: Mapping[str, Mapping[str, Value]]) -> Iterator[str]:
    return iter(dict.fromkeys(column for row in data.values() for column in row))


def _header(column: str, data: Mapping[str, Mapping[str, Value]]) -> dict[str, str]:
    whole = all(isinstance(row.get(column, 0), int) for row in data.values())
    return {"title": column.replace("_", " ").capitalize(), "format": "{:,.0f}" if whole else "{:,.3f}"}
