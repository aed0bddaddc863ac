"""DeepLoc: subcellular localization of eukaryotic proteins in ten classes (Almagro Armenteros et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find, read

PARTS = ("valid",)


def load(folder: Path, part: str) -> Benchmark:
    """Read `deeploc_train_valid.tsv`: `accession`, `split`, `location`, `sequence`."""
    path = find(folder, "deeploc_train_valid.tsv*")
    frame = read(path, "accession", "split", "location", "sequence").rename({"accession": "id"})
    frame = frame.select("id", "split", "location", "sequence").unique("id", keep="first", maintain_order=True)
    return Benchmark(frame, ("classification",), ("location",), path.name)
