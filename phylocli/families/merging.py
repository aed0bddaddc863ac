"""Merging of families that are fragments of one domain.

A search from a seed without an insertion, or whose homologs are too distant to align completely, finds a part of a domain;
the rest then becomes a separate family with the same members. Domains that never occur apart form one family.
"""

from __future__ import annotations

from concurrent.futures import Executor
from itertools import pairwise
from typing import TYPE_CHECKING

from phylocli.core import console
from phylocli.families.residue_assignment import Group, Ledger
from phylocli.families.searching import CHAIN_INSERTION, Hit, Searcher, row_of

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

# Families that are adjacent in this fraction of the larger one's members are two fragments of one domain.
_TOGETHER = 0.9


def join_pieces(ledger: Ledger, searcher: Searcher, executor: Executor) -> None:
    """Merge families that are nearly always adjacent, in the same order, until there are no more."""
    refused: set[tuple[int, int]] = set()
    while pairs := [pair for pair in companions(ledger.groups) if pair[:2] not in refused]:
        touched: set[int] = set()
        disjoint = []
        for pair in pairs:
            if touched.isdisjoint(pair[:2]):
                touched.update(pair[:2])
                disjoint.append(pair)
        found = executor.map(lambda pair: _searched(ledger.groups, searcher, *pair), disjoint)
        results = list(console.progress(found, "joining pieces", total=len(disjoint), unit="pairs"))
        for (left, right, together), (profile, hits) in zip(disjoint, results, strict=True):
            if profile is None or not _join(ledger, left, right, profile, hits, len(together)):
                refused.add((left, right))


def companions(groups: dict[int, Group]) -> list[tuple[int, int, list[tuple[Hit, Hit]]]]:
    """Return the pairs of families that are to be joined, each with its pairs of members, those with most first."""
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


def _searched(
    groups: dict[int, Group], searcher: Searcher, left: int, right: int, together: list[tuple[Hit, Hit]]
) -> tuple[HMM | None, list[Hit]]:
    """Return the profile of two adjacent families, or None, and its hits in their sequences."""
    first, second = groups[left], groups[right]
    best = sorted(together, key=lambda pair: (-pair[0].score - pair[1].score, pair[0].region.sequence))
    rows = [row_of(a, first.length) + row_of(b, second.length) for a, b in best]
    profile = searcher.builders.profile(rows, fixed=True)
    if profile is None:
        return None, []
    sequences = {hit.region.sequence for group in (first, second) for hit in group.members}
    return profile, searcher.covering(profile, sequences)


def _join(ledger: Ledger, left: int, right: int, profile: HMM, hits: list[Hit], together: int) -> bool:
    """Replace two families by one if it keeps enough of their members; return whether it does."""
    first, second = ledger.dissolve(left), ledger.dissolve(right)
    members, _ = ledger.sort_out(hits)
    if len(members) < _TOGETHER * together:
        ledger.restore(left, first)
        ledger.restore(right, second)
        return False
    ledger.take(Group(profile, members))
    return True
