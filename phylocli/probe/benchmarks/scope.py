"""SCOPe: detection of homologs by family, superfamily and fold, from a table or an ASTRAL FASTA file."""

from __future__ import annotations

from pathlib import Path

from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find
from phylocli.probe.inputs.labels import read_labels

PARTS = ("all",)


def load(folder: Path, part: str) -> Benchmark:
    """Read `scope/*.tsv`, or `astral-scopedom-*.fa` as SCOPe publishes it."""
    path = find(folder, "scope/*.tsv*", "scope*.tsv*", "astral-scopedom-*.fa*")
    frame = read_labels(path)
    levels = ("family", "superfamily", "fold")
    # Keep in agreement with the card of the default model.
    published = (
        "on SCOPe 2.04 at 30 % identity phmmer reaches 0.383 / 0.128 / 0.001 and UniRep-1900 0.320 / 0.211 / 0.040 "
        "(family / superfamily / fold)"
    )
    return Benchmark(
        frame.select("id", *levels, "sequence"), ("retrieval", "homology"), levels, path.name, published=published
    )
