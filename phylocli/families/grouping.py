"""Families one after another: seeds from the most connected on, each residue in one family at most."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from phylocli import console
from phylocli.families.growth import CHAIN_INSERTION, Group, Grown, Hit, Region, Searcher, Settings, grow, row_of
from phylocli.families.pool import Pool

# Seeds that are grown at once. A constant: with the number of threads the outcome would change too.
_BATCH = 32
_LOOK_AHEAD = 256
# Seeds are taken by neighbours a residue, for which a short sequence counts as no shorter than about this: a protein of many
# domains has many neighbours, but of all its domains, and a fragment has many for its length.
_TYPICAL_LENGTH = 400
# A longer stretch is tried in windows that overlap by half.
_LONGEST_SEED = 1000
# A family gives way to a larger one that has at least this part of its members.
_SHARED = 0.5
# For a family to be cut, its part must be seen on its own at least so often, and in this proportion to the family's size.
_OWN_MEMBERS = 3
_OWN_PART = 0.2
# Residues beside a member that a family takes along: too few for a domain, and local alignments fray.
_FRAYED = 10
# Families that stand side by side in this part of the larger one's members are two pieces of one.
_TOGETHER = 0.9
FREE = -1


class Grouping:
    """Greedy grouping of a pool of sequences.

    Every residue belongs to one family at most (`owner`). Seeds are sequences, or what is left of them, from the one with
    the most neighbours on; a batch of seeds, none a neighbour of another, is grown in parallel against the same state,
    then committed in order; a seed whose members another of its batch has taken is grown again.
    """

    def __init__(self, pool: Pool, graph: csr_array, settings: Settings) -> None:
        self.pool = pool
        self.settings = settings
        self.groups: dict[int, Group] = {}
        self._next = 0
        self._indptr = graph.indptr
        self._indices = graph.indices
        self.owner: npt.NDArray[np.int32] = np.full(int(pool.offsets[-1]), FREE, dtype=np.int32)
        self._searcher = Searcher(pool, settings)
        self._degree = np.diff(graph.indptr)
        self._priority = self._degree / (pool.lengths + _TYPICAL_LENGTH)
        self._queue: list[tuple[float, int]] = []
        self._queued: set[int] = set()
        self._tried: set[Region] = set()
        for index in np.flatnonzero(self._degree).tolist():
            self._push(index)

    def run(self, executor: Executor) -> None:
        """Group until no stretch is left to try, then join the pieces of domains that always stand together."""
        with console.progress_task("growing families", total=len(self._queue), unit="sequences") as task:
            while self._queue:
                before = len(self._queue)
                seeds = self._batch()
                grown = list(executor.map(self._grow, seeds))
                for seed, result in zip(seeds, grown, strict=True):
                    self._commit(seed, result)
                task.advance(max(before - len(self._queue), 0))
                task.update(description=f"growing families, {len(self.groups)} so far")
        self._fuse()

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
        found = [window for stretch in self.free_stretches(index) for window in _windows(stretch)]
        found = [r for r in found if r not in self._tried]
        found = [r for r in found if r.length >= self.settings.min_length or r.length == self.pool.lengths[index]]
        return max(found, key=lambda r: (r.length, -r.start), default=None)

    def free_stretches(self, index: int) -> list[Region]:
        """Return the stretches of a sequence that no family has."""
        low, high = self.pool.offsets[index], self.pool.offsets[index + 1]
        free = np.concatenate(([False], self.owner[low:high] == FREE, [False]))
        edges = np.flatnonzero(free[1:] != free[:-1])
        return [Region(index, int(a) + 1, int(b)) for a, b in edges.reshape(-1, 2)]

    # -- growing -------------------------------------------------------------------------------------------------------

    def _neighbours_of(self, index: int) -> npt.NDArray[np.int32]:
        return self._indices[self._indptr[index] : self._indptr[index + 1]]

    def neighbours(self, members: Iterable[int]) -> set[int]:
        """Return the sequences worth a search for those that are members, and these themselves."""
        found = set(members)
        return found.union(*(self._neighbours_of(i).tolist() for i in found))

    def free_residues(self, index: int) -> int:
        """Return how many residues of a sequence no family has."""
        return int(np.count_nonzero(self.owner[self.pool.offsets[index] : self.pool.offsets[index + 1]] == FREE))

    def _grow(self, seed: Region) -> Grown:
        return grow(self._searcher, seed, self)

    def _slice(self, region: Region) -> slice:
        base = int(self.pool.offsets[region.sequence])
        return slice(base + region.start - 1, base + region.end)

    def free_part(self, region: Region) -> tuple[Region | None, int]:
        """Return the longest free run of a region where it is most of it, and the family that has the most of the rest."""
        owners = self.owner[self._slice(region)]
        if (owners == FREE).all():
            return region, FREE
        free = np.concatenate(([False], owners == FREE, [False]))
        runs = np.flatnonzero(free[1:] != free[:-1]).reshape(-1, 2)
        taken = owners[owners != FREE]
        numbers, counts = np.unique(taken, return_counts=True)
        family = int(numbers[np.argmax(counts)])
        if len(runs):
            start, end = runs[np.argmax(runs[:, 1] - runs[:, 0])]
            if end - start >= self.settings.coverage * region.length:
                return Region(region.sequence, region.start + int(start), region.start + int(end) - 1), family
        return None, family

    # -- fusing --------------------------------------------------------------------------------------------------------

    def _fuse(self) -> None:
        """Join families that nearly always stand next to each other, in the same order: two pieces of one.

        A search from a seed that is short of an insertion, or whose kin are too distant to align throughout, finds a part of
        a domain; the rest then comes as a family of its own, with the same members. What never occurs apart is one family.
        """
        refused: set[tuple[int, int]] = set()
        while pairs := [pair for pair in self._companions() if pair not in refused]:
            touched: set[int] = set()
            for left, right in pairs:
                if left in touched or right in touched:
                    continue
                touched |= {left, right}
                if not self._fuse_pair(left, right):
                    refused.add((left, right))

    def _neighbouring(self) -> dict[tuple[int, int], list[tuple[Hit, Hit]]]:
        """Return the members that follow each other closely in a sequence, by their families."""
        by_sequence: dict[int, list[tuple[int, Hit]]] = {}
        for number, group in self.groups.items():
            for hit in group.members:
                by_sequence.setdefault(hit.region.sequence, []).append((number, hit))
        found: dict[tuple[int, int], list[tuple[Hit, Hit]]] = {}
        for index in sorted(by_sequence):
            placed = sorted(by_sequence[index], key=lambda item: item[1].region.start)
            for (left, a), (right, b) in pairwise(placed):
                if left != right and b.region.start - a.region.end <= CHAIN_INSERTION:
                    found.setdefault((left, right), []).append((a, b))
        return found

    def _companions(self) -> list[tuple[int, int]]:
        """Return the pairs of families that are to be joined, those with most members first."""
        found = []
        for (left, right), members in self._neighbouring().items():
            if len(members) >= _TOGETHER * max(len(self.groups[left].members), len(self.groups[right].members)):
                found.append((-len(members), left, right))
        return [(left, right) for _, left, right in sorted(found)]

    def _fuse_pair(self, left: int, right: int) -> bool:
        first, second = self.groups[left], self.groups[right]
        together = self._neighbouring()[left, right]
        rows = [
            row_of(a, first.profile.M) + row_of(b, second.profile.M)
            for a, b in sorted(together, key=lambda pair: (-pair[0].score - pair[1].score, pair[0].region.sequence))
        ]
        profile = self._searcher.build(rows, fixed=True)
        if profile is None:
            return False
        sequences = {hit.region.sequence for group in (first, second) for hit in group.members}
        owner = self.owner.copy()
        self._dissolve(left)
        self._dissolve(right)
        members = self._searcher.members(profile, sequences, self)
        if len(members) < _TOGETHER * len(together):
            self.owner, self.groups[left], self.groups[right] = owner, first, second
            return False
        self._take(Group(profile, members))
        return True

    # -- committing ----------------------------------------------------------------------------------------------------

    def _commit(self, seed: Region, grown: Grown) -> None:
        stale = any((self.owner[self._slice(hit.region)] != FREE).any() for hit in grown.members) or any(
            number not in self.groups for number in grown.claimed
        )
        if stale or (self.owner[self._slice(seed)] != FREE).any():
            self._push(seed.sequence)
            return
        self._tried.add(seed)
        members = list(grown.members)
        released: list[int] = []
        for number in sorted(grown.claimed):
            if self._gives_way(number, grown):
                released += self._dissolve(number)
        if released:
            members += [
                Hit(region, hit.score, hit.evalue, hit.profile_start, hit.profile_end, hit.row)
                for hits in grown.claimed.values()
                for hit in hits
                if (region := self.free_part(hit.region)[0]) is not None
            ]
            members = _apart(members)
        if len(members) > 1:
            self._take(Group(grown.profile, members))
        for index in released:
            self._push(index)
        self._push(seed.sequence)

    def _gives_way(self, number: int, grown: Grown) -> bool:
        """Return whether a family is to be dissolved into the one that has grown now.

        It is where the new one, with what it claims, is larger and has at least half of its members. Where the new profile
        sees but a part of those members (a domain of a protein of several), it must have been seen apart from them too.
        """
        old = self.groups[number].members
        claims = grown.claimed[number]
        if len(claims) < _SHARED * len(old) or len(grown.members) + len(claims) <= len(old):
            return False
        lengths = {hit.region.sequence: hit.region.length for hit in old}
        parts = [h.region.length / lengths[h.region.sequence] for h in claims if h.region.sequence in lengths]
        if parts and float(np.median(parts)) >= self.settings.coverage:
            return True
        return len(grown.members) >= max(_OWN_MEMBERS, _OWN_PART * len(old))

    def _dissolve(self, number: int) -> list[int]:
        group = self.groups.pop(number)
        for hit in group.members:
            part = self.owner[self._slice(hit.region)]
            part[part == number] = FREE
        return sorted({hit.region.sequence for hit in group.members})

    def _take(self, group: Group) -> None:
        number = self._next
        self._next += 1
        kept = []
        for hit in group.members:
            self.owner[self._slice(hit.region)] = number
        for hit in group.members:
            region = self._with_ends(hit, group.profile.M)
            self.owner[self._slice(region)] = number
            kept.append(Hit(region, hit.score, hit.evalue, hit.profile_start, hit.profile_end, hit.row))
        self.groups[number] = Group(group.profile, kept)
        for hit in kept:
            self._push(hit.region.sequence)

    def _with_ends(self, hit: Hit, length: int) -> Region:
        """Return a member's region with the free residues beside it that its alignment has only failed to reach.

        A flank is taken along where the profile positions that the alignment lacks on that side account for it, give or take
        `_FRAYED` residues. A longer flank may hold a domain of its own and stays free.
        """
        region = hit.region
        base = int(self.pool.offsets[region.sequence])
        owners = self.owner[base : int(self.pool.offsets[region.sequence + 1])]
        taken = np.flatnonzero(owners[: region.start - 1] != FREE)
        left = int(taken[-1]) + 2 if len(taken) else 1
        taken = np.flatnonzero(owners[region.end :] != FREE)
        right = region.end + int(taken[0]) if len(taken) else len(owners)
        start = left if region.start - left <= hit.profile_start - 1 + _FRAYED else region.start
        end = right if right - region.end <= length - hit.profile_end + _FRAYED else region.end
        return Region(region.sequence, start, end)

    def loners(self) -> Iterator[int]:
        """Yield the sequences of which no family has any part."""
        in_family = np.add.reduceat(self.owner != FREE, self.pool.offsets[:-1]) if len(self.pool) else np.zeros(0)
        yield from np.flatnonzero(in_family == 0).tolist()


def _windows(stretch: Region) -> list[Region]:
    if stretch.length <= _LONGEST_SEED:
        return [stretch]
    starts = range(stretch.start, stretch.end - _LONGEST_SEED // 2 + 1, _LONGEST_SEED // 2)
    return [Region(stretch.sequence, start, min(start + _LONGEST_SEED - 1, stretch.end)) for start in starts]


def _apart(hits: list[Hit]) -> list[Hit]:
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
