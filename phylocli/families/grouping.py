"""Families one after another: seeds from the most connected on, each residue in one family at most."""

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
from phylocli.families.residue_assignment import Group, Ledger
from phylocli.families.searching import Hit, Region, Searcher

# Seeds that are grown at once. A constant: with the number of threads the outcome would change too.
_BATCH = 32
_LOOK_AHEAD = 256
# Seeds are ordered by neighbours per residue, with at least about this length for short sequences: a multi-domain protein
# has many neighbours, but of all its domains, and a fragment has many for its length.
_TYPICAL_LENGTH = 400
# A longer stretch is tried in windows that overlap by half.
_LONGEST_SEED = 1000
# A family is absorbed by a larger one that has at least this fraction of its members.
_SHARED = 0.5
# For a family to be cut, its part must be seen on its own at least so often, and in this proportion to the family's size.
_OWN_MEMBERS = 3
_OWN_PART = 0.2


class Grouping:
    """Greedy grouping of the sequences that a graph connects.

    Seeds are sequences, or remaining parts of them, starting with the most neighbours. A batch of seeds without neighbours
    among them is grown in parallel from the same state, then committed in order; a seed whose members were taken by another
    of its batch is grown again.
    """

    def __init__(self, ledger: Ledger, searcher: Searcher, graph: csr_array) -> None:
        self.ledger = ledger
        self._searcher = searcher
        self._indptr = graph.indptr
        self._indices = graph.indices
        self._degree = np.diff(graph.indptr)
        self._priority = self._degree / (ledger.pool.lengths + _TYPICAL_LENGTH)
        self._queue: list[tuple[float, int]] = []
        self._queued: set[int] = set()
        self._tried: set[Region] = set()
        for index in np.flatnonzero(self._degree).tolist():
            self._push(index)

    def run(self, executor: Executor) -> None:
        """Grow families until no stretch is left to try."""
        with console.progress_task("growing families", total=len(self._queue), unit="sequences") as task:
            while self._queue:
                before = len(self._queue)
                seeds = self._batch()
                grown = list(executor.map(self._grow, seeds))
                for seed, result in zip(seeds, grown, strict=True):
                    self._commit(seed, result)
                task.advance(max(before - len(self._queue), 0))
                task.update(description=f"growing families, {len(self.ledger.groups)} so far")

    # -- seeds ---------------------------------------------------------------------------------------------------------

    def _push(self, index: int) -> None:
        if index not in self._queued and self._degree[index] > 0:
            self._queued.add(index)
            heapq.heappush(self._queue, (-float(self._priority[index]), index))

    def _batch(self) -> list[Region]:
        """Return the next seeds, none a neighbour of another."""
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
            seed = self._stretch(index)
            if seed is None:
                continue
            seeds.append(seed)
            blocked.add(index)
            blocked.update(self._neighbours_of(index).tolist())
        for index in later:
            self._push(index)
        return seeds

    def _stretch(self, index: int) -> Region | None:
        """Return the longest free stretch of a sequence that was not tried, or None."""
        shortest = self.ledger.settings.min_length
        found = [window for stretch in self.ledger.free_stretches(index) for window in _windows(stretch)]
        found = [r for r in found if r not in self._tried]
        found = [r for r in found if r.length >= shortest or r.length == self.ledger.pool.lengths[index]]
        return max(found, key=lambda r: (r.length, -r.start), default=None)

    # -- growing -------------------------------------------------------------------------------------------------------

    def _neighbours_of(self, index: int) -> npt.NDArray[np.int32]:
        return self._indices[self._indptr[index] : self._indptr[index + 1]]

    def neighbours(self, members: Iterable[int]) -> set[int]:
        """Return the sequences worth a search for those that are members, and these themselves."""
        found = list(members)
        return set(np.unique(np.concatenate([found, *(self._neighbours_of(i) for i in found)])).tolist())

    def _grow(self, seed: Region) -> Grown:
        return grow(self._searcher, seed, self.ledger, self.neighbours)

    # -- committing ----------------------------------------------------------------------------------------------------

    def _commit(self, seed: Region, grown: Grown) -> None:
        ledger = self.ledger
        stale = not all(ledger.is_free(hit.region) for hit in grown.members) or any(
            number not in ledger.groups for number in grown.claimed
        )
        if stale or not ledger.is_free(seed):
            self._push(seed.sequence)
            return
        self._tried.add(seed)
        members = list(grown.members)
        released: list[int] = []
        for number in sorted(grown.claimed):
            if self._gives_way(number, grown):
                released += sorted({hit.region.sequence for hit in ledger.dissolve(number).members})
        if released:
            members += [
                replace(hit, region=region)
                for hits in grown.claimed.values()
                for hit in hits
                if (region := ledger.free_part(hit.region)[0]) is not None
            ]
            members = apart(members)
        if len(members) > 1:
            number = ledger.take(Group(grown.profile, members))
            for hit in ledger.groups[number].members:
                self._push(hit.region.sequence)
        for index in released:
            self._push(index)
        self._push(seed.sequence)

    def _gives_way(self, number: int, grown: Grown) -> bool:
        """Return whether a family is to be dissolved into the one that has grown now.

        This is the case if the new family, with its claims, is larger and has at least half of the members. If the new
        profile covers only a part of those members (a domain of a multi-domain protein), it must also have been found apart
        from them.
        """
        old = self.ledger.groups[number].members
        claims = grown.claimed[number]
        if len(claims) < _SHARED * len(old) or len(grown.members) + len(claims) <= len(old):
            return False
        lengths = {hit.region.sequence: hit.region.length for hit in old}
        parts = [h.region.length / lengths[h.region.sequence] for h in claims if h.region.sequence in lengths]
        if parts and float(np.median(parts)) >= self.ledger.settings.coverage:
            return True
        return len(grown.members) >= max(_OWN_MEMBERS, _OWN_PART * len(old))


def _windows(stretch: Region) -> list[Region]:
    if stretch.length <= _LONGEST_SEED:
        return [stretch]
    starts = range(stretch.start, stretch.end - _LONGEST_SEED // 2 + 1, _LONGEST_SEED // 2)
    return [Region(stretch.sequence, start, min(start + _LONGEST_SEED - 1, stretch.end)) for start in starts]


def apart(hits: list[Hit]) -> list[Hit]:
    """Return the hits that do not overlap with a better one."""
    kept: list[Hit] = []
    had: dict[int, list[Region]] = {}
    for hit in sorted(hits, key=lambda h: (-h.score, h.region.sequence, h.region.start)):
        region = hit.region
        others = had.setdefault(region.sequence, [])
        if all(other.end < region.start or region.end < other.start for other in others):
            others.append(region)
            kept.append(hit)
    return kept
