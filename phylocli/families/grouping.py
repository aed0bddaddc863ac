"""Greedy grouping: families are grown from seeds, the most connected first; each residue is in at most one family."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from phylocli.core import console
from phylocli.families.growth import Grown, grow
from phylocli.families.residue_assignment import Group, ResidueAssignment
from phylocli.families.searching import Hit, Region, Searcher

# Number of seeds grown in parallel. Constant, so that the result does not depend on the number of threads.
_BATCH = 32
_LOOK_AHEAD = 256
# Pseudo-length added to the length when seeds are ranked by neighbours per residue. Ranking by number of neighbours alone
# would prefer multi-domain proteins; without the pseudo-length, fragments would be preferred.
_TYPICAL_LENGTH = 400
# Longer regions are split into windows that overlap by half.
_LONGEST_SEED = 1000
# A family is absorbed by a larger one that claims at least this fraction of its members.
_CLAIMED = 0.5
# A family of multi-domain proteins is split if one of its domains has this minimum number of members elsewhere, absolute and
# as a fraction of the family's size.
_OWN_MEMBERS = 3
_OWN_FRACTION = 0.2


class Grouping:
    """Greedy grouping of sequences by homology.

    Seeds are unassigned regions of sequences, those with most neighbours per residue first. A batch of seeds that are not
    neighbours of each other is grown in parallel from the same state and committed in order. A seed whose members were
    assigned to another family of the same batch is grown again.

    Args:
        assignment: the current assignment of residues to families.
        searcher: runs HMMER.
        graph: candidate pairs of homologous sequences, symmetric, shape (n, n).
    """

    def __init__(self, assignment: ResidueAssignment, searcher: Searcher, graph: csr_array) -> None:
        self.assignment = assignment
        self._searcher = searcher
        self._indptr = graph.indptr
        self._indices = graph.indices
        self._degree = np.diff(graph.indptr)
        self._priority = self._degree / (assignment.pool.lengths + _TYPICAL_LENGTH)
        self._queue: list[tuple[float, int]] = []
        self._queued: set[int] = set()
        self._tried: set[Region] = set()
        for index in np.flatnonzero(self._degree).tolist():
            self._push(index)

    def run(self, executor: Executor) -> None:
        """Grow families until every unassigned region has been tried as a seed."""
        with console.progress_task("growing families", total=len(self._queue), unit="sequences") as task:
            while self._queue:
                before = len(self._queue)
                seeds = self._batch()
                grown = list(executor.map(self._grow, seeds))
                for seed, result in zip(seeds, grown, strict=True):
                    self._commit(seed, result)
                task.advance(max(before - len(self._queue), 0))
                task.update(detail=f"{len(self.assignment.groups)} so far")

    # -- seeds ---------------------------------------------------------------------------------------------------------

    def _push(self, index: int) -> None:
        if index not in self._queued and self._degree[index] > 0:
            self._queued.add(index)
            heapq.heappush(self._queue, (-float(self._priority[index]), index))

    def _batch(self) -> list[Region]:
        """Return the next seeds, of which no two are neighbours."""
        seeds: list[Region] = []
        blocked: set[int] = set()
        later: list[int] = []
        for _ in range(_LOOK_AHEAD):
            if not self._queue or len(seeds) == _BATCH:
                break
            _, index = heapq.heappop(self._queue)
            self._queued.discard(index)
            if index in blocked:
                later.append(index)
                continue
            seed = self._next_region(index)
            if seed is None:
                continue
            seeds.append(seed)
            blocked.add(index)
            blocked.update(self._neighbours_of(index).tolist())
        for index in later:
            self._push(index)
        return seeds

    def _next_region(self, index: int) -> Region | None:
        """Return the longest unassigned region of a sequence that has not been tried, or None."""
        shortest = self.assignment.settings.min_length
        found = [window for stretch in self.assignment.free_regions(index) for window in _windows(stretch)]
        found = [r for r in found if r not in self._tried]
        found = [r for r in found if r.length >= shortest or r.length == self.assignment.pool.lengths[index]]
        return max(found, key=lambda r: (r.length, -r.start), default=None)

    # -- growing -------------------------------------------------------------------------------------------------------

    def _neighbours_of(self, index: int) -> npt.NDArray[np.int32]:
        return self._indices[self._indptr[index] : self._indptr[index + 1]]

    def neighbours(self, members: Iterable[int]) -> set[int]:
        """Return the members and their neighbours: the sequences to search for further members."""
        found = list(members)
        return set(np.unique(np.concatenate([found, *(self._neighbours_of(i) for i in found)])).tolist())

    def _grow(self, seed: Region) -> Grown:
        return grow(self._searcher, seed, self.assignment, self.neighbours)

    # -- committing ----------------------------------------------------------------------------------------------------

    def _commit(self, seed: Region, grown: Grown) -> None:
        assignment = self.assignment
        stale = not all(assignment.is_free(hit.region) for hit in grown.members) or any(
            number not in assignment.groups for number in grown.claimed
        )
        if stale or not assignment.is_free(seed):
            self._push(seed.sequence)
            return
        self._tried.add(seed)
        members = list(grown.members)
        released: list[int] = []
        for number in sorted(grown.claimed):
            if self._is_absorbed(number, grown):
                released += sorted({hit.region.sequence for hit in assignment.dissolve(number).members})
        if released:
            members += [
                replace(hit, region=region)
                for hits in grown.claimed.values()
                for hit in hits
                if (region := assignment.free_part(hit.region)[0]) is not None
            ]
            members = non_overlapping(members)
        if len(members) > 1:
            number = assignment.take(Group(grown.profile, members))
            for hit in assignment.groups[number].members:
                self._push(hit.region.sequence)
        for index in released:
            self._push(index)
        self._push(seed.sequence)

    def _is_absorbed(self, number: int, grown: Grown) -> bool:
        """Return whether an existing family is dissolved into the new one.

        The new family must be larger, including its claims, and claim at least half of the existing members. If its profile
        covers only a part of these members (one domain of a multi-domain protein), it must also have enough members
        elsewhere.
        """
        old = self.assignment.groups[number].members
        claims = grown.claimed[number]
        if len(claims) < _CLAIMED * len(old) or len(grown.members) + len(claims) <= len(old):
            return False
        lengths = {hit.region.sequence: hit.region.length for hit in old}
        parts = [h.region.length / lengths[h.region.sequence] for h in claims if h.region.sequence in lengths]
        if parts and float(np.median(parts)) >= self.assignment.settings.coverage:
            return True
        return len(grown.members) >= max(_OWN_MEMBERS, _OWN_FRACTION * len(old))


def _windows(stretch: Region) -> list[Region]:
    if stretch.length <= _LONGEST_SEED:
        return [stretch]
    starts = range(stretch.start, stretch.end - _LONGEST_SEED // 2 + 1, _LONGEST_SEED // 2)
    return [Region(stretch.sequence, start, min(start + _LONGEST_SEED - 1, stretch.end)) for start in starts]


def non_overlapping(hits: list[Hit]) -> list[Hit]:
    """Return the hits that do not overlap with a higher-scoring hit."""
    kept: list[Hit] = []
    had: dict[int, list[Region]] = {}
    for hit in sorted(hits, key=lambda h: (-h.score, h.region.sequence, h.region.start)):
        region = hit.region
        others = had.setdefault(region.sequence, [])
        if all(other.end < region.start or region.end < other.start for other in others):
            others.append(region)
            kept.append(hit)
    return kept
