"""TAPE stability: how stable small designed proteins are (Rocklin et al. 2017; Rao et al. 2019, arXiv 1906.08230)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, is_json, read, read_json, with_ids

if TYPE_CHECKING:
    import polars as pl

PARTS = ("valid", "test")
_PUBLISHED = "transformer, UniRep and ResNet 0.73, LSTM 0.69, one-hot 0.19 (Spearman; Rao et al. 2019)"


def load(folder: Path, part: str) -> Benchmark:
    """Read `tape_stability/{train,valid}.tsv`, or TAPE's `stability_{train,valid,test}.json`."""
    import polars as pl

    names = ("train", "valid") if part == "valid" else ("train", "valid", "test")
    frame = pl.concat([_read(folder, name) for name in names])
    published = _PUBLISHED if part == "test" else ""
    return Benchmark(frame, ("regression",), ("stability",), f"TAPE stability, {part}", published=published)


def _read(folder: Path, name: str) -> pl.DataFrame:
    import polars as pl

    path = find(folder, f"tape_stability/{name}.tsv*", f"stability_{name}.json*")
    if is_json(path):
        records = read_json(path, "primary", "stability_score")
        values = [r["stability_score"] for r in records]
        plain = [float(v[0] if isinstance(v, list) else v) for v in values]
        frame = pl.DataFrame({"sequence": [r["primary"] for r in records], "stability": plain})
    else:
        frame = read(path, "stability", "sequence").select("sequence", pl.col("stability").cast(pl.Float64))
    return with_ids(frame, name).with_columns(pl.lit(name).alias("split")).select("id", "split", "stability", "sequence")
