"""Recruitment of excluded near-duplicates into the families of their representatives."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from phylocli.core import console
from phylocli.families.residue_assignment import ResidueAssignment
from phylocli.families.searching import Hit, Searcher


def near_duplicates_of(chosen: npt.NDArray[np.int64]) -> dict[int, list[int]]:
    """Return the near-duplicates of each representative, given the result of `redundancy.representatives`."""
    found: dict[int, list[int]] = {}
    for index in np.flatnonzero(chosen != np.arange(len(chosen))).tolist():
        found.setdefault(int(chosen[index]), []).append(index)
    return found


def star_graph(chosen: npt.NDArray[np.int64]) -> csr_array:
    """Return the graph that connects representatives with their near-duplicates: symmetric, zero diagonal, shape (n, n)."""
    left_out = np.flatnonzero(chosen != np.arange(len(chosen)))
    one_way = csr_array((np.ones(len(left_out), dtype=np.int32), (left_out, chosen[left_out])), shape=(len(chosen),) * 2)
    graph: csr_array = (one_way + one_way.T).tocsr()
    graph.sort_indices()
    return graph


def recruit(assignment: ResidueAssignment, searcher: Searcher, chosen: npt.NDArray[np.int64], executor: Executor) -> None:
    """Search each family's profile against the near-duplicates of its members and assign residues to the best hit."""
    left_out = near_duplicates_of(chosen)

    def hits_of(number: int) -> list[Hit]:
        group = assignment.groups[number]
        candidates = {i for hit in group.members for i in left_out.get(hit.region.sequence, ())}
        return searcher.covering(group.profile, candidates) if candidates and group.profile is not None else []

    numbers = sorted(assignment.groups)
    found = console.progress(executor.map(hits_of, numbers), "adding near-duplicates", total=len(numbers), unit="families")
    best = [(number, hit) for number, hits in zip(numbers, found, strict=True) for hit in hits]
    best.sort(key=lambda item: (-item[1].score, item[1].region.sequence, item[1].region.start, item[0]))
    for number, hit in best:
        for member in assignment.partition([hit])[0]:
            assignment.add(number, member)
