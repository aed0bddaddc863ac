"""Merging of families that are fragments of one domain.

A seed that lacks an insertion, or whose homologs are too distant to align completely, may find only a part of a domain. The
rest then becomes a separate family with the same members. Families that nearly always occur together are therefore merged.
"""

from __future__ import annotations

from concurrent.futures import Executor
from itertools import pairwise
from typing import TYPE_CHECKING

from phylocli.core import console
from phylocli.families.residue_assignment import Group, ResidueAssignment
from phylocli.families.searching import CHAIN_INSERTION, Hit, Searcher, row_of

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

# Minimum fraction of the members of the larger family in which two families are adjacent, for them to be merged.
_TOGETHER = 0.9


def merge_fragments(assignment: ResidueAssignment, searcher: Searcher, executor: Executor) -> None:
    """Merge families that are nearly always adjacent, in the same order, until no such pair is left."""
    refused: set[tuple[int, int]] = set()
    while pairs := [pair for pair in adjacent_families(assignment.groups) if pair[:2] not in refused]:
        touched: set[int] = set()
        disjoint = []
        for pair in pairs:
            if touched.isdisjoint(pair[:2]):
                touched.update(pair[:2])
                disjoint.append(pair)
        found = executor.map(lambda pair: _merged_profile(assignment.groups, searcher, *pair), disjoint)
        results = list(console.progress(found, "merging fragments", total=len(disjoint), unit="pairs"))
        for (left, right, together), (profile, hits) in zip(disjoint, results, strict=True):
            if profile is None or not _join(assignment, left, right, profile, hits, len(together)):
                refused.add((left, right))


def adjacent_families(groups: dict[int, Group]) -> list[tuple[int, int, list[tuple[Hit, Hit]]]]:
    """Return the pairs of families to merge, each with its pairs of adjacent members; those with most members first."""
    by_sequence: dict[int, list[tuple[int, Hit]]] = {}
    for number, group in groups.items():
        for hit in group.members:
            by_sequence.setdefault(hit.region.sequence, []).append((number, hit))
    beside: dict[tuple[int, int], list[tuple[Hit, Hit]]] = {}
    for index in sorted(by_sequence):
        placed = sorted(by_sequence[index], key=lambda item: item[1].region.start)
        for (left, a), (right, b) in pairwise(placed):
            if left != right and b.region.start - a.region.end <= CHAIN_INSERTION:
                beside.setdefault((left, right), []).append((a, b))
    found = [
        (left, right, together)
        for (left, right), together in beside.items()
        if len(together) >= _TOGETHER * max(len(groups[left].members), len(groups[right].members))
    ]
    return sorted(found, key=lambda item: (-len(item[2]), *item[:2]))


def _merged_profile(
    groups: dict[int, Group], searcher: Searcher, left: int, right: int, together: list[tuple[Hit, Hit]]
) -> tuple[HMM | None, list[Hit]]:
    """Return the joint profile of two adjacent families, or None if it cannot be built, and its hits in their sequences."""
    first, second = groups[left], groups[right]
    best = sorted(together, key=lambda pair: (-pair[0].score - pair[1].score, pair[0].region.sequence))
    rows = [row_of(a, first.length) + row_of(b, second.length) for a, b in best]
    profile = searcher.builders.profile(rows, fixed=True)
    if profile is None:
        return None, []
    sequences = {hit.region.sequence for group in (first, second) for hit in group.members}
    return profile, searcher.covering(profile, sequences)


def _join(assignment: ResidueAssignment, left: int, right: int, profile: HMM, hits: list[Hit], together: int) -> bool:
    """Replace two families by the merged one if it retains enough members; return whether they were replaced."""
    first, second = assignment.dissolve(left), assignment.dissolve(right)
    members, _ = assignment.partition(hits)
    if len(members) < _TOGETHER * together:
        assignment.restore(left, first)
        assignment.restore(right, second)
        return False
    assignment.take(Group(profile, members))
    return True
