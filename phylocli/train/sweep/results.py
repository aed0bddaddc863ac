"""Result tables of a sweep: one row per run, and means over seeds with confidence intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.config.sweep import RESULT_METRICS
from phylocli.config.train import VALIDATION_METRICS
from phylocli.core.errors import BadInputError
from phylocli.formats.streams import atomic_path, write_text
from phylocli.statistics.replicates import mean_interval
from phylocli.train.checkpoints import BOUNDS, SMALLER_IS_BETTER
from phylocli.train.report.metrics import read_metrics
from phylocli.train.run_folder import METRICS, MODEL
from phylocli.train.sweep.plan import Planned


def collect(runs: Sequence[Planned], folder: Path, errors: Mapping[str, str]) -> pl.DataFrame:
    """Return the results of all runs, one row per run in the given order.

    Columns: `run` (name of its folder), `recipe`, one per variation, `seed`, `setting` (a description without the seed),
        `status` (`done`, `failed`, `interrupted`, `waiting`), `error`, number of `steps`, their duration in `seconds`, and
        for each validation metric `final_…` (after the last step) and `best_…`; null if missing.

    Args:
        runs: the runs of the sweep.
        folder: the folder that contains the run folders.
        errors: message of each failed run, by name.
    """
    rows = []
    for run in runs:
        row: dict[str, object] = {"run": run.name, "recipe": run.recipe, **run.varied, "seed": run.seed}
        row.update(setting=run.setting, status="waiting", error=errors.get(run.name, ""), steps=0, seconds=0.0)
        row.update(dict.fromkeys(RESULT_METRICS))
        metrics = folder / run.name / METRICS
        if metrics.is_file():
            row["status"] = "interrupted"
            try:
                row.update(_figures(read_metrics(metrics)))
            except BadInputError as error:
                row["error"] = row["error"] or f"{error.what}: {error.why}"
        if (folder / run.name / MODEL / "config.json").is_file():
            row["status"] = "done"
        if row["error"]:
            row["status"] = "failed"
        rows.append(row)
    columns = {name: _column([row[name] for row in rows]) for name in rows[0]}
    numbers = dict.fromkeys(RESULT_METRICS, pl.Float64)
    return pl.DataFrame(columns, schema_overrides={**numbers, "seconds": pl.Float64}, strict=False)


def _column(values: list[Any]) -> list[Any]:
    """Convert values to a common type: text if their types differ."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and not kinds & {list, dict}):
        return values
    return [json.dumps(value) if isinstance(value, list | dict) else str(value) for value in values]


def _figures(metrics: pl.DataFrame) -> dict[str, float]:
    found: dict[str, float] = {"steps": int(metrics["step"][-1]), "seconds": float(metrics["seconds"].sum())}
    for figure in VALIDATION_METRICS:
        values = metrics[figure].drop_nulls().to_list() if figure in metrics.columns else []
        if values:
            found[f"final_{figure}"] = values[-1]
            found[f"best_{figure}"] = min(values) if figure in SMALLER_IS_BETTER else max(values)
    return found


def summarise(frame: pl.DataFrame, varied: Sequence[str]) -> pl.DataFrame:
    """Return one row per setting and metric: number of seeds, mean, and 95 % confidence interval (null for one seed).

    Args:
        frame: the result of `collect`; only completed runs are used.
        varied: names of the variations.
    """
    done = frame.filter(pl.col("status") == "done")
    rows = []
    for _, group in done.group_by("setting", maintain_order=True):
        about = group.select("setting", "recipe", *varied).row(0, named=True)
        for metric in RESULT_METRICS:
            values = group[metric].drop_nulls().to_list()
            if values:
                mean, low, high = mean_interval(values, BOUNDS.get(metric.split("_", 1)[1], (-math.inf, math.inf)))
                rows.append({**about, "figure": metric, "n": len(values), "mean": mean, "low": low, "high": high})
    schema: dict[str, Any] = {"setting": pl.String, "recipe": pl.String, **{name: frame.schema[name] for name in varied}}
    numbers = {"figure": pl.String, "n": pl.Int64, "mean": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema={**schema, **numbers}).fill_nan(None)


def write(frame: pl.DataFrame, folder: Path, metric: str, varied: Sequence[str]) -> None:
    """Write the results and their summary as Parquet and TSV, and the figure of one metric as SVG and HTML."""
    from phylocli.train.sweep import figure

    summary = summarise(frame, varied)
    for name, table in (("results", frame), ("summary", summary)):
        with atomic_path(folder / f"{name}.parquet") as part:
            table.write_parquet(part)
        write_text(folder / f"{name}.tsv", _tsv(table))
    svg, page = figure.draw(frame, summary, metric)
    write_text(folder / "sweep.svg", svg)
    write_text(folder / "sweep.html", page)


def _tsv(table: pl.DataFrame) -> str:
    texts = [name for name, kind in table.schema.items() if kind == pl.String]
    plain = table.with_columns(pl.col(texts).str.replace_all(r"[\t\r\n]+", " ")) if texts else table
    return plain.write_csv(separator="\t", quote_style="never", float_precision=6)
