"""The report's folder: everything that was found as one dictionary, and the files that are made of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phylocli.core.errors import UsageError
from phylocli.core.plugins import PROBES
from phylocli.core.protocols import ProbePlugin
from phylocli.formats.streams import PathLike, atomic_directory
from phylocli.formats.tables import metrics_schema, write_table
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.report.html import render, summarise
from phylocli.probe.scoring import Scorer, number
from phylocli.statistics.bootstrap import holm

if TYPE_CHECKING:
    import polars as pl

REPORT, MARKDOWN, JSON, METRICS = "report.html", "report.md", "report.json", "metrics.parquet"


def check_target(output: PathLike) -> None:
    """Raise a UsageError where something stands that is no earlier report."""
    target = Path(output)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / JSON).exists())):
        raise UsageError(f"{output} exists and is no earlier report", fix="name a new folder with -o")


def gather(
    title: str,
    data: Dataset,
    tables: list[Embedding],
    chosen: dict[str, tuple[ProbePlugin, list[str]]],
    scorer: Scorer,
    record: dict[str, Any],
    *,
    published: str = "",
) -> dict[str, Any]:
    """Return what `report.json` holds, with p-values corrected for all comparisons."""
    from phylocli import __version__

    raw = [math.nan if d["p"] is None else d["p"] for d in scorer.differences]
    for row, corrected in zip(scorer.differences, holm(raw), strict=True):
        row["p_holm"] = number(float(corrected))
    return {
        "format": "phylocli-report-1",
        "title": title,
        "version": __version__,
        "published": published,
        "embeddings": [
            {
                "name": t.name,
                "dimension": int(t.vectors.shape[1]),
                "source": t.source,
                "baseline": t.baseline,
                "metadata": {k: v for k, v in t.metadata.items() if len(v) <= 400},
            }
            for t in tables
        ],
        "items": len(data),
        "evaluated": len(data.evaluated_rows()),
        "split": data.evaluate,
        "replicates": scorer.replicates,
        "resample_by": data.resample_by,
        "seed": scorer.seed,
        "tasks": [
            {
                "name": name,
                "title": module.TITLE,
                "summary": PROBES.summary(name),
                "levels": levels,
                "metrics": {m: {"meaning": k.meaning, "better": k.better} for m, k in module.METRICS.items()},
            }
            for name, (module, levels) in chosen.items()
        ],
        "metrics": scorer.metrics,
        "differences": scorer.differences,
        "layers": scorer.layers,
        "notes": scorer.notes,
        "curves": scorer.curves,
        # The time of day stays out: the same input and seed give the same report.
        "provenance": {k: record[k] for k in ("command", "parameters", "seed", "inputs", "versions", "platform")},
    }


def write_report(report: dict[str, Any], record: dict[str, Any], output: PathLike) -> pl.DataFrame:
    """Write the folder of a report, all or nothing; return its metrics as a table."""
    import polars as pl

    rows = report["metrics"]
    columns = {field.name: [row[field.name] for row in rows] for field in metrics_schema()}
    metrics = pl.DataFrame(columns).cast({"value": pl.Float64, "low": pl.Float64, "high": pl.Float64})
    with atomic_directory(Path(output)) as folder:
        write_table(metrics, folder / METRICS, metrics_schema(), "parquet")
        (folder / JSON).write_text(
            json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / REPORT).write_text(render(report), encoding="utf-8")
        (folder / MARKDOWN).write_text(summarise(report), encoding="utf-8")
        (folder / "provenance.json").write_text(json.dumps(record, indent=2, default=str) + "\n", encoding="utf-8")
    return metrics
