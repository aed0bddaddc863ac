"""Stockholm families: retrieval by family and clan, and patristic distances; missing trees are inferred."""

from __future__ import annotations

import logging
from pathlib import Path

from phylocli.core.words import counted
from phylocli.formats import read_families
from phylocli.probe.benchmarks._contract import Benchmark
from phylocli.probe.benchmarks._files import find
from phylocli.tree import infer_trees

logger = logging.getLogger(__name__)

PARTS = ("dev",)


def load(folder: Path, part: str) -> Benchmark:
    """Read `dev.sto` (or the only `*.sto`): one Stockholm record per family; members are embedded unaligned."""
    import polars as pl

    path = find(folder, "families/dev.sto*", "dev.sto*", "*.sto*")
    families = list(read_families(path))
    bare = [family for family in families if not family.has_tree]
    if bare:
        logger.info(f"{path.name}: inferring {counted(len(bare), 'tree')}")
        made = {family.accession: family for family in infer_trees(iter(bare))}
        families = [made.get(family.accession, family) for family in families]
    rows = [(s.id, family.accession, family.clan or None, s.residues) for family in families for s in family.sequences()]
    frame = pl.DataFrame(rows, schema=["id", "family", "clan", "sequence"], orient="row", infer_schema_length=None)
    frame = frame.unique("id", keep="first", maintain_order=True)
    columns = ("family", "clan") if frame["clan"].n_unique() > 2 else ("family",)
    tasks = ("retrieval", "homology", "patristic", "topology", "clustering", "geometry")
    return Benchmark(frame.select("id", *columns, "sequence"), tasks, columns, path.name, trees=families)
