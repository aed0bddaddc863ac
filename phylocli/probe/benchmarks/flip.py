"""FLIP: fitness of GB1 variants, in splits that require extrapolation.

Dallago et al. 2021, doi:10.1101/2021.11.09.467890.
"""

from __future__ import annotations

from pathlib import Path

from phylocli.core.errors import BadInputError
from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import PUBLISHED, find, read, with_ids

SPLITS = ("low_vs_high", "one_vs_rest", "two_vs_rest", "three_vs_rest", "sampled")
"""FLIP's splits of the GB1 landscape; FLIP distributes one CSV per split."""

PARTS = (*(f"{split}:valid" for split in SPLITS), *SPLITS)
"""The validation part of each split, and its test part, which has the plain name of the split."""


def load(folder: Path, part: str) -> Benchmark:
    """Read `flip_gb1.tsv` (one column per split), or FLIP's `<split>.csv` (`sequence`, `target`, `set`, `validation`)."""
    import polars as pl

    split, _, scored = part.partition(":")
    path = find(folder, f"{split}.csv*", "flip_gb1.tsv*")
    if path.name.startswith(split):
        frame = read(path, "sequence", "target", "set", "validation")
        held = pl.col("validation").cast(pl.String).str.to_lowercase() == "true"
        frame = frame.with_columns(
            pl.when(held).then(pl.lit("valid")).otherwise(pl.col("set")).alias("split"),
            pl.col("target").cast(pl.Float64).alias("fitness"),
        )
    else:
        frame = read(path, "fitness", split, "sequence").rename({split: "split"})
        frame = frame.with_columns(pl.col("fitness").cast(pl.Float64))
    frame = frame.filter(pl.col("split").is_in(["train", "valid"] if scored else ["train", "valid", "test"]))
    if frame.height == 0:
        raise BadInputError(f"{path.name} has no rows in the split {split!r}", fix=PUBLISHED)
    frame = with_ids(frame, "gb1").select("id", "split", "fitness", "sequence")
    return Benchmark(frame, ("regression",), ("fitness",), f"FLIP GB1, {part}")
