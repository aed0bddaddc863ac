"""Secondary structure of every residue, in three states and, where the files have them, eight: NetSurfP-2 or TAPE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, is_json, read, read_json, with_ids

if TYPE_CHECKING:
    import polars as pl

PARTS = ("valid", "cb513", "ts115", "casp12")
_THREE, _EIGHT = "HEC", "GHIBESTC"


def load(folder: Path, part: str) -> Benchmark:
    """Read `secondary_structure/train_valid.tsv` (`ss3`, `resolved_mask`), or TAPE's `secondary_structure_*.json`."""
    import polars as pl

    path = find(folder, "secondary_structure/train_valid.tsv*", "secondary_structure_train.json*")
    if is_json(path) or part != "valid":
        frame = pl.concat(
            [_tape(folder, "train", "train"), _tape(folder, "valid", "valid")]
            + ([] if part == "valid" else [_tape(folder, part, "test")])
        )
        return Benchmark(frame, ("residues",), ("ss3", "ss8", "resolved"), f"TAPE secondary structure, {part}")
    frame = read(path, "id", "split", "sequence", "ss3", "resolved_mask")
    return Benchmark(frame, ("residues",), ("ss3", "resolved_mask"), path.name)


def _tape(folder: Path, name: str, split: str) -> pl.DataFrame:
    import polars as pl

    path = find(folder, f"secondary_structure_{name}.json*")
    records = read_json(path, "primary", "ss3", "ss8", "valid_mask")
    frame = pl.DataFrame(
        {
            "sequence": [r["primary"] for r in records],
            "ss3": ["".join(_THREE[int(k)] for k in r["ss3"]) for r in records],
            "ss8": ["".join(_EIGHT[int(k)] for k in r["ss8"]) for r in records],
            "resolved": ["".join("1" if k else "0" for k in r["valid_mask"]) for r in records],
        }
    )
    return with_ids(frame, name).with_columns(pl.lit(split).alias("split"))
