"""The metrics of a run: metrics.parquet, one row per step, and progress messages on stderr."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats.streams import atomic_path
from phylocli.train.report.panel import Panel, live, validation
from phylocli.train.report.row import Row
from phylocli.train.report.trackers import Track

logger = logging.getLogger(__name__)

PLAIN_SECONDS = 15.0

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
    """The table of metrics, one row per step; rewritten periodically as a whole, in Parquet.

    Columns: `step` from 1, `loss` and other terms of the objective, `learning_rate`, `gradient_norm` (before clipping),
        `pairs`, `residues`, `seconds` (since the previous step), the columns of `throughput.Meter`, and the validation
        columns, null on steps without validation.

    Args:
        path: metrics.parquet.
        upto: the last step whose row is kept from an existing file.

    Attributes:
        trackers: experiment trackers that also receive every row.
    """

    def __init__(self, path: Path, upto: int = 0) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.trackers: Sequence[Track] = ()
        self._written = time.monotonic()
        if upto and path.is_file():
            try:
                self.rows = read_metrics(path).filter(pl.col("step") <= upto).to_dicts()
            except BadInputError as error:
                logger.warning(f"{error.what} ({error.why}); the metrics of the steps up to {upto} are lost")
        self._published = len(self.rows)

    def append(self, row: Row) -> None:
        """Add the row of a step."""
        self.rows.append(row)

    def forget(self, after: int) -> None:
        """Remove the rows after a step, when a run is rolled back to it."""
        self.rows = [row for row in self.rows if row["step"] <= after]
        self._published = min(self._published, len(self.rows))

    def publish(self) -> None:
        """Send the rows added since the last call, which must be complete, to the trackers."""
        for row in self.rows[self._published :]:
            for track in self.trackers:
                track(row)
        self._published = len(self.rows)

    def write(self) -> None:
        """Write all rows atomically."""
        self.publish()
        if not self.rows:
            return
        names = dict.fromkeys(name for row in self.rows for name in row)
        ordered = [n for n in names if n not in VALIDATION] + list(VALIDATION)
        whole = {"step", "pairs", "residues"}
        schema = pa.schema([(n, pa.int64() if n in whole else pa.float64()) for n in ordered])
        with atomic_path(self.path) as part:
            pq.write_table(
                pa.Table.from_pylist(self.rows, schema=schema), part, compression="zstd", write_page_checksum=True
            )
        self._written = time.monotonic()

    def write_if_older(self, seconds: float) -> None:
        """Write all rows if the last write was at least `seconds` ago."""
        if time.monotonic() - self._written >= seconds:
            self.write()


def read_metrics(path: Path) -> pl.DataFrame:
    """Read metrics.parquet, verifying its checksums.

    Raises:
        BadInputError: the file is damaged.
    """
    try:
        found = pl.from_arrow(pq.read_table(path, page_checksum_verification=True))
        assert isinstance(found, pl.DataFrame)
        if "step" not in found.columns:
            raise ValueError("it has no column named step")
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInputError(f"{path} is damaged", why=why, fix="train the run again in a new folder") from error
    return found


class Reporter:
    """A context manager that reports progress: a live panel on a terminal, otherwise a line every 15 seconds.

    Args:
        steps: number of steps of the run.
        done: number of steps completed before a resume.
    """

    def __init__(self, steps: int, done: int = 0) -> None:
        self.steps, self.done = steps, done
        self.residues = 0
        self.panel = Panel(steps, done) if console.progress_is_shown() else None
        self.began = self.said = time.monotonic()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        if self.panel is not None:
            self._open.enter_context(live(self.panel))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def step(self, row: Row, *, important: bool) -> None:
        """Report a step; `important` steps (validation, the last one) are always shown.

        The loss of the row may still be None, because the device has not computed it yet.
        """
        self.residues += row["residues"]
        if self.panel is not None:
            self.panel.update(row)
        now = time.monotonic()
        if row["loss"] is None or not (important or (self.panel is None and now - self.said > PLAIN_SECONDS)):
            return
        seconds = max(now - self.began, 1e-9)
        text = line(row, self.steps, self.residues / seconds)
        left = seconds / (row["step"] - self.done) * (self.steps - row["step"])
        logger.info(text if row["step"] == self.steps else f"{text} · {console.duration(left)} left")
        self.said = now


def line(row: Row, steps: int, rate: float) -> str:
    """Return a progress line: step, loss, information in nats and its ceiling, validation metrics, speed."""
    parts = [f"step {row['step']}/{steps}", f"loss {row['loss']:.3f}"]
    if "bound" in row and "ceiling" in row:
        parts.append(f"{row['bound']:.2f} of {row['ceiling']:.2f} nats")
    if row.get("val_bound") is not None:
        parts.append(f"held out: {validation(row)}")
    parts.append(f"{rate:,.0f} residues/s")
    return " · ".join(parts)
