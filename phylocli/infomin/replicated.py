"""Runs with several seeds: remembered, and summarised by their means with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from phylocli.formats.streams import atomic_path, write_text
from phylocli.statistics.replicates import mean_interval


def remembered(path: Path, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the values of a JSON file if it was written for the same key; else compute them, and write both.

    Args:
        path: the file.
        key: what the values depend on; JSON values.
        compute: returns the values by name; JSON values, none of which is a key's name.
    """
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if {name: found.get(name) for name in key} == json.loads(json.dumps(key)):
            return found
    values = {**key, **compute()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, indent=1) + "\n")
    return values


def finite(values: pl.Series) -> list[float]:
    """Return the values that are neither missing nor NaN nor infinite."""
    return [value for value in values.drop_nulls().to_list() if math.isfinite(value)]


def means(part: pl.DataFrame, bounds: Mapping[str, tuple[float, float]]) -> dict[str, float | None]:
    """Return `NAME`, `NAME_low` and `NAME_high` of each column: mean and 95 % interval over rows; None where undefined.

    Args:
        part: one row per seed.
        bounds: least and greatest value of each column.
    """
    row: dict[str, float | None] = {}
    for column, limits in bounds.items():
        known = finite(part[column])
        figures = mean_interval(known, limits) if known else (math.nan,) * 3
        for name, value in zip((column, f"{column}_low", f"{column}_high"), figures, strict=True):
            row[name] = float(value) if math.isfinite(value) else None
    return row


def write_tables(frame: pl.DataFrame, stem: Path) -> None:
    """Write a table as Parquet and as TSV."""
    with atomic_path(stem.with_suffix(".parquet")) as path:
        frame.write_parquet(path)
    write_text(stem.with_suffix(".tsv"), frame.write_csv(separator="\t"))
