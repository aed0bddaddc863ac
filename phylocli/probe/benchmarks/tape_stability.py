"""TAPE stability: stability of small designed proteins (Rocklin et al. 2017; Rao et al. 2019, arXiv 1906.08230)."""

from __future__ import annotations

from pathlib import Path

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import read_tape

PARTS = ("valid", "test")
_PUBLISHED = "transformer, UniRep and ResNet 0.73, LSTM 0.69, one-hot 0.19 (Spearman; Rao et al. 2019)"


def load(folder: Path, part: str) -> Benchmark:
    """Read `tape_stability/{train,valid}.tsv`, or TAPE's `stability_{train,valid,test}.json`."""
    import polars as pl

    names = ("train", "valid") if part == "valid" else ("train", "valid", "test")
    frame = pl.concat([read_tape(folder, "stability", name, "stability_score", "stability") for name in names])
    published = _PUBLISHED if part == "test" else ""
    return Benchmark(frame, ("regression",), ("stability",), f"TAPE stability, {part}", published=published)
