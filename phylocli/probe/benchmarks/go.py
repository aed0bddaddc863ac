"""Molecular function of proteins as GO terms (multilabel), from a table with splits."""

from __future__ import annotations

from pathlib import Path

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, read

PARTS = ("valid", "test")


def load(folder: Path, part: str) -> Benchmark:
    """Read `go_mf.tsv`: `accession`, `split`, `go_mf_terms` (GO identifiers separated by commas), `sequence`."""
    import polars as pl

    path = find(folder, "go_mf.tsv*")
    frame = read(path, "accession", "split", "go_mf_terms", "sequence").rename({"accession": "id", "go_mf_terms": "go"})
    if part == "valid":
        frame = frame.filter(pl.col("split") != "test")
    return Benchmark(frame.select("id", "split", "go", "sequence"), ("multilabel",), ("go",), path.name)
