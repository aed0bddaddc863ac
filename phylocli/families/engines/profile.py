"""Domain families by iterated profile search with HMMER, through pyhmmer (default)."""

from __future__ import annotations

from concurrent.futures import Executor

from phylocli import console
from phylocli.families.grouping import Grouping
from phylocli.families.growth import Group, Settings
from phylocli.families.pool import Pool
from phylocli.families.prefilter import neighbour_graph
from phylocli.formats.provenance import versions


def describe() -> str:
    """Return the method and its version, for the notes of a record."""
    return f"profile search, pyhmmer {versions()['pyhmmer']}"


def group(pool: Pool, settings: Settings, executor: Executor) -> list[Group]:
    """Return the families of a pool: regions of sequences, each residue in one at most."""
    graph = neighbour_graph(pool, executor)
    console.detail(f"{graph.nnz // 2} pairs of sequences share enough words to be compared")
    grouping = Grouping(pool, graph, settings)
    grouping.run(executor)
    return list(grouping.groups.values())
