"""Domain families by iterated profile search with HMMER, through pyhmmer (default)."""

from __future__ import annotations

import logging
from concurrent.futures import Executor

import numpy as np

from phylocli.families.grouping import Grouping
from phylocli.families.merging import merge_fragments
from phylocli.families.pool import Pool
from phylocli.families.prefilter.neighbours import neighbour_graph
from phylocli.families.prefilter.redundancy import representatives
from phylocli.families.recruitment import recruit, star_graph
from phylocli.families.residue_assignment import Group, ResidueAssignment
from phylocli.families.searching import Searcher, Settings
from phylocli.formats.provenance import versions

logger = logging.getLogger(__name__)


def describe() -> str:
    """Return the method with the version of pyhmmer, for the notes of a record."""
    return f"profile search, pyhmmer {versions()['pyhmmer']}"


def group(pool: Pool, settings: Settings, executor: Executor) -> list[Group]:
    """Return the domain families of a pool; each residue is in at most one family."""
    chosen = representatives(pool)
    searched = np.flatnonzero(chosen == np.arange(len(pool)))
    logger.debug(f"excluded {len(pool) - len(searched)} near-duplicates of longer sequences; they are added at the end")
    graph = neighbour_graph(pool, executor, searched)
    logger.debug(f"found {graph.nnz // 2} candidate pairs by spaced seeds")
    assignment, searcher = ResidueAssignment(pool, settings), Searcher(pool, settings)
    Grouping(assignment, searcher, graph).run(executor)
    if len(searched) < len(pool):
        recruit(assignment, searcher, chosen, executor)
        Grouping(assignment, searcher, star_graph(chosen)).run(executor)
    merge_fragments(assignment, searcher, executor)
    return list(assignment.groups.values())
