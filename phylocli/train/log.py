"""The record of a run: metrics.parquet, one row a step, and what is said on stderr meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phylocli import console
from phylocli.formats.streams import atomic_path

LIVE_SECONDS, PLAIN_SECONDS = 0.5, 15.0

VALIDATION = (
    "val_loss",
    "val_collapsed",
    "val_bound",
    "val_ceiling",
    "val_accuracy",
    "val_retrieval",
    "val_alignment",
    "val_uniformity",
    "val_rank",
)


class MetricsLog:
    """Rows of metrics, written as Parquet now and then, always the whole table at once.

    Columns: `step` from 1, `loss` and the objective's other terms, `learning_rate`, `gradient_norm` (before clipping),
        `pairs`,
    `residues`, `seconds` (since the step before), and the validation columns, null on steps without validation.

    Args:
        path: metrics.parquet.
        upto: keep the rows of an earlier run up to this step.
    """

    def __init__(self, path: Path, upto: int = 0) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._written = time.monotonic()
        if upto and path.is_file():
            self.rows = pl.read_parquet(path).filter(pl.col("step") <= upto).to_dicts()

    def append(self, row: dict[str, Any]) -> None:
        """Add the row of a step."""
        self.rows.append(row)

    def forget(self, after: int) -> None:
        """Drop the rows after a step, which a run that goes back to it will do again."""
        self.rows = [row for row in self.rows if row["step"] <= after]

    def write(self) -> None:
        """Write all rows, atomically."""
        if not self.rows:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        ordered = [n for n in names if n not in VALIDATION] + list(VALIDATION)
        whole = {"step", "pairs", "residues"}
        schema = pa.schema([(n, pa.int64() if n in whole else pa.float64()) for n in ordered])
        with atomic_path(self.path) as part:
            pq.write_table(pa.Table.from_pylist(self.rows, schema=schema), part, compression="zstd")
        self._written = time.monotonic()

    def write_if_older(self, seconds: float) -> None:
        """Write unless that was done less than so many seconds ago."""
        if time.monotonic() - self._written >= seconds:
            self.write()


class Reporter:
    """Says how training goes: a live line where there is a terminal, else a line now and then.

    Args:
        bar: the progress bar, which does nothing where there is no terminal.
        steps: of the whole run.
        done: steps that an earlier run has done.
    """

    def __init__(self, bar: console.ProgressTask, steps: int, done: int = 0) -> None:
        self.bar, self.steps, self.done = bar, steps, done
        self.residues = 0
        self.live = console.progress_is_shown()
        self.began = self.said = time.monotonic()
        bar.advance(done)

    def step(self, row: dict[str, Any], *, important: bool) -> None:
        """Note a step whose row may still lack its loss; `important` (validation, the last step) is always said."""
        self.residues += row["residues"]
        self.bar.advance()
        now = time.monotonic()
        if row["loss"] is None or not (important or now - self.said > (LIVE_SECONDS if self.live else PLAIN_SECONDS)):
            return
        seconds = max(now - self.began, 1e-9)
        text = line(row, self.steps, self.residues / seconds)
        if self.live:
            self.bar.update(description=text)
        if important or not self.live:
            left = seconds / (row["step"] - self.done) * (self.steps - row["step"])
            console.info(text if row["step"] == self.steps else f"{text} · {_duration(left)} left")
        self.said = now


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def line(row: dict[str, Any], steps: int, rate: float) -> str:
    """Return one line for the reader: step, loss, information in nats and its ceiling, speed."""
    parts = [f"step {row['step']}/{steps}", f"loss {row['loss']:.3f}"]
    if "bound" in row and "ceiling" in row:
        parts.append(f"{row['bound']:.2f} of {row['ceiling']:.2f} nats")
    if row.get("val_bound") is not None:
        parts.append(
            f"held out: {row['val_bound']:.2f} of {row['val_ceiling']:.2f} nats, accuracy {row['val_accuracy']:.2f}, "
            f"retrieval {row['val_retrieval']:.2f}, rank {row['val_rank']:.0f}"
        )
    parts.append(f"{rate:,.0f} residues/s")
    return " · ".join(parts)
