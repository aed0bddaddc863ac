"""TAPE remote homology: fold classification of proteins from unseen superfamilies (Rao et al. 2019, arXiv 1906.08230)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, is_json, read, read_json, with_ids

if TYPE_CHECKING:
    import polars as pl

PARTS = ("valid", "test_fold_holdout", "test_superfamily_holdout", "test_family_holdout")
_PUBLISHED = "LSTM 0.26, transformer 0.21, ResNet 0.17, one-hot 0.09 (top-1 on the fold holdout; Rao et al. 2019)"


def load(folder: Path, part: str) -> Benchmark:
    """Read `tape_remote_homology/{train,valid}.tsv`, or TAPE's `remote_homology_{train,…}.json`."""
    import polars as pl

    parts = [_read(folder, "train", "train"), _read(folder, part, "valid" if part == "valid" else "test")]
    if part != "valid":
        parts.insert(1, _read(folder, "valid", "valid"))
    frame = pl.concat(parts, how="vertical")
    published = _PUBLISHED if part == "test_fold_holdout" else ""
    return Benchmark(frame, ("classification",), ("fold",), f"TAPE remote homology, {part}", published=published)


def _read(folder: Path, name: str, split: str) -> pl.DataFrame:
    import polars as pl

    short = name.removeprefix("test_")
    path = find(
        folder, f"tape_remote_homology/{name}.tsv*", f"remote_homology_{name}.json*", f"tape_remote_homology/{short}.tsv*"
    )
    if is_json(path):
        records = read_json(path, "primary", "fold_label")
        frame = pl.DataFrame({"sequence": [r["primary"] for r in records], "fold": [str(r["fold_label"]) for r in records]})
    else:
        frame = read(path, "fold_label", "sequence").select("sequence", pl.col("fold_label").cast(pl.String).alias("fold"))
    return with_ids(frame, name).with_columns(pl.lit(split).alias("split")).select("id", "split", "fold", "sequence")
