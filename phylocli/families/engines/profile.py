"""Domain families by iterated profile search with HMMER, through pyhmmer (default)."""

from __future__ import annotations

import logging
from concurrent.futures import Executor

import numpy as np

from phylocli.families.grouping import Grouping
from phylocli.families.merging import join_pieces
from phylocli.families.pool import Pool
from phylocli.families.prefilter.neighbours import neighbour_graph
from phylocli.families.prefilter.redundancy import representatives
from phylocli.families.recruitment import recruit, star_graph
from phylocli.families.residue_assignment import Group, Ledger
from phylocli.families.searching import Searcher, Settings
from phylocli.formats.provenance import versions

logger = logging.getLogger(__name__)


def describe() -> str:
    """Return the method and its version, for the notes of a record."""
    return f"profile search, pyhmmer {versions()['pyhmmer']}"


def group(pool: Pool, settings: Settings, executor: Executor) -> list[Group]:
    """Return the families of a pool: regions of sequences, each residue in one at most."""
    chosen = representatives(pool)
    searched = np.flatnonzero(chosen == np.arange(len(pool)))
    logger.debug(f"{len(pool) - len(searched)} near-duplicates of longer sequences join their families at the end")
    graph = neighbour_graph(pool, executor, searched)
    logger.debug(f"{graph.nnz // 2} candidate pairs by spaced seeds")
    ledger, searcher = Ledger(pool, settings), Searcher(pool, settings)
    Grouping(ledger, searcher, graph).run(executor)
    if len(searched) < len(pool):
        recruit(ledger, searcher, chosen, executor)
        Grouping(ledger, searcher, star_graph(chosen)).run(executor)
    join_pieces(ledger, searcher, executor)
    return list(ledger.groups.values())
