"""EC numbers of enzymes (multilabel): CLEAN's training and test files (Yu et al. 2023, doi:10.1126/science.adf2465)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, read

if TYPE_CHECKING:
    import polars as pl

PARTS = ("split10", "new", "price")
"""The default trains on `split10.csv` and scores a fifth of it; `new` and `price` are CLEAN's test sets."""

_HELD_OUT = 5


def load(folder: Path, part: str) -> Benchmark:
    """Read CLEAN's tab-separated `split100.csv` (or `split10.csv`), `new.csv`, `price.csv`: Entry, EC number, Sequence."""
    import polars as pl

    if part == "split10":
        frame = _read(find(folder, "split10.csv*"))
        # Sorted by name, so that the scored proteins do not depend on the order of the file.
        fifth = (
            pl.col("id").str.to_uppercase().map_elements(lambda name: sum(name.encode()) % _HELD_OUT, return_dtype=pl.Int64)
        )
        frame = frame.with_columns(pl.when(fifth == 0).then(pl.lit("valid")).otherwise(pl.lit("train")).alias("split"))
    else:
        learned = _read(find(folder, "split100.csv*", "split70.csv*", "split10.csv*")).with_columns(
            pl.lit("train").alias("split")
        )
        scored = _read(find(folder, f"{part}.csv*")).with_columns(pl.lit("test").alias("split"))
        frame = pl.concat([learned.filter(~pl.col("id").is_in(scored["id"].to_list())), scored])
    return Benchmark(frame, ("multilabel",), ("ec",), f"CLEAN, {part}")


def _read(path: Path) -> pl.DataFrame:
    import polars as pl

    frame = read(path, "Entry", "EC number", "Sequence")
    return frame.select(
        pl.col("Entry").cast(pl.String).alias("id"),
        pl.col("EC number").cast(pl.String).alias("ec"),
        pl.col("Sequence").cast(pl.String).alias("sequence"),
    ).unique("id", keep="first", maintain_order=True)
