"""Secondary structure of every residue, in three states and, if available, eight: NetSurfP-2 or TAPE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, is_json, read, read_json, with_ids
from phylocli.probe.benchmarks._netsurfp import EIGHT, read_netsurfp

if TYPE_CHECKING:
    import polars as pl

PARTS = ("valid", "cb513", "ts115", "casp12")
_THREE = "HEC"
_HELD_OUT = 10
"""NetSurfP-2's files have no validation part: one in this many training proteins is held out, chosen by name."""

_PUBLISHED = {
    "cb513": "LSTM and ResNet 0.75, transformer 0.73, one-hot 0.69, with an alignment 0.80 (Q3 on CB513; Rao et al. 2019; "
    "their one-hot residues go through a trained convolution, the baselines here are linear)"
}


def load(folder: Path, part: str) -> Benchmark:
    """Read a table, TAPE's JSON files or NetSurfP-2's arrays, whichever is present.

    The table is `secondary_structure/train_valid.tsv` (`ss3`, `resolved_mask`), which has no test part. TAPE's files are
    `secondary_structure_{train,valid,…}.json`. NetSurfP-2's are `Train_HHblits.npz`, `CB513_HHblits.npz`,
    `TS115_HHblits.npz` and `CASP12_HHblits.npz`, or `*_MMseqs.npz`.
    """
    import polars as pl

    patterns = ["secondary_structure_train.json*", "Train_HHblits.npz", "Train_MMseqs.npz"]
    if part == "valid":
        patterns.insert(0, "secondary_structure/train_valid.tsv*")
    path = find(folder, *patterns)
    if path.suffix == ".npz":
        return _netsurfp(path, part)
    if is_json(path):
        frame = pl.concat(
            [_tape(folder, "train", "train"), _tape(folder, "valid", "valid")]
            + ([] if part == "valid" else [_tape(folder, part, "test")])
        )
        return _benchmark(frame, f"TAPE secondary structure, {part}", part)
    frame = read(path, "id", "split", "sequence", "ss3", "resolved_mask")
    return Benchmark(frame, ("residues",), ("ss3", "resolved_mask"), path.name)


def _benchmark(frame: pl.DataFrame, source: str, part: str) -> Benchmark:
    return Benchmark(frame, ("residues",), ("ss3", "ss8", "resolved"), source, published=_PUBLISHED.get(part, ""))


def _netsurfp(train: Path, part: str) -> Benchmark:
    """Return the benchmark from NetSurfP-2's arrays: a tenth of the training proteins is the validation part."""
    import polars as pl

    held = pl.col("id").map_elements(lambda name: sum(name.encode()) % _HELD_OUT == 0, return_dtype=pl.Boolean)
    learned = read_netsurfp(train).with_columns(
        pl.when(held).then(pl.lit("valid")).otherwise(pl.lit("train")).alias("split")
    )
    frames = [learned]
    if part != "valid":
        path = find(train.parent, train.name.replace("Train", part.upper()))
        scored = read_netsurfp(path).with_columns(pl.lit("test").alias("split"))
        frames = [learned.filter(~pl.col("id").is_in(scored["id"].to_list())), scored]
    return _benchmark(pl.concat(frames), f"NetSurfP-2, {part}", part)


def _tape(folder: Path, name: str, split: str) -> pl.DataFrame:
    import polars as pl

    path = find(folder, f"secondary_structure_{name}.json*")
    records = read_json(path, "primary", "ss3", "ss8", "valid_mask")
    frame = pl.DataFrame(
        {
            "sequence": [r["primary"] for r in records],
            "ss3": ["".join(_THREE[int(k)] for k in r["ss3"]) for r in records],
            "ss8": ["".join(EIGHT[int(k)] for k in r["ss8"]) for r in records],
            "resolved": ["".join("1" if k else "0" for k in r["valid_mask"]) for r in records],
        }
    )
    return with_ids(frame, name).with_columns(pl.lit(split).alias("split"))
