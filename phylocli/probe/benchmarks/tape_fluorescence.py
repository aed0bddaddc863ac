"""TAPE fluorescence: brightness of distant variants, trained on close ones (Rao et al. 2019, arXiv 1906.08230)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._avgfp import read_avgfp
from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find_any, read_tape, with_ids

if TYPE_CHECKING:
    import polars as pl

PARTS = ("valid", "test")
NEAR = 3
"""Maximum number of mutations of training variants; test variants have more."""
_HELD_OUT = 5
_PUBLISHED = "transformer 0.68, UniRep and LSTM 0.67, ResNet 0.21, one-hot 0.14 (Spearman; Rao et al. 2019)"


def load(folder: Path, part: str) -> Benchmark:
    """Read TAPE's `fluorescence_{train,valid,test}.json`, or else split `avgfp.tsv` as TAPE does.

    Variants with up to three mutations are for training, a fifth of them for validation, and variants with more mutations
    are the test part. Variants with a stop codon are excluded.
    """
    import polars as pl

    names = ("train", "valid") if part == "valid" else ("train", "valid", "test")
    if find_any(folder, "fluorescence_train.json*"):
        frame = pl.concat([read_tape(folder, "fluorescence", name, "log_fluorescence", "brightness") for name in names])
    else:
        frame = _near_and_far(folder).filter(pl.col("split").is_in(names))
    published = _PUBLISHED if part == "test" else ""
    return Benchmark(frame, ("regression",), ("brightness",), f"TAPE fluorescence, {part}", published=published)


def _near_and_far(folder: Path) -> pl.DataFrame:
    import polars as pl

    _, frame = read_avgfp(folder)
    # Sorted by name, so that the held-out variants do not depend on the order of the file.
    fifth = pl.col("variant").map_elements(lambda name: sum(name.encode()) % _HELD_OUT, return_dtype=pl.Int64)
    split = pl.when(fifth == 0).then(pl.lit("valid")).otherwise(pl.lit("train"))
    far = pl.col("variant").str.count_matches(",") >= NEAR
    frame = frame.with_columns(pl.when(far).then(pl.lit("test")).otherwise(split).alias("split"))
    return with_ids(frame, "avgfp").select("id", "split", pl.col("score").alias("brightness"), "sequence")
