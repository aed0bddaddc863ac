"""Which family has which residue: each in one at most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.families.pool import Pool
from phylocli.families.searching import Hit, Region, Settings

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

# Flanking residues that are added to a member: too few for a domain, since ends of local alignments are uncertain.
_FRAYED = 10
FREE = -1


@dataclass
class Group:
    """A family in the making.

    Attributes:
        profile: profile HMM, None where HMMER can make none.
        members: best first.
        groups: representative of the group of near relatives that a sequence is in, both as indices of the pool; empty where
            the engine makes no groups.
    """

    profile: HMM | None
    members: list[Hit]
    groups: dict[int, int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of match states of the profile."""
        return self.profile.M if self.profile is not None else 0


class Ledger:
    """The current families, by number, and the owner of every residue of a pool.

    Attributes:
        owner: the number of the family that owns a residue, or `FREE`, shape (residues,).
        groups: the families.
    """

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self.pool = pool
        self.settings = settings
        self.groups: dict[int, Group] = {}
        self.owner: npt.NDArray[np.int32] = np.full(int(pool.offsets[-1]), FREE, dtype=np.int32)
        self._next = 0

    # -- what is free --------------------------------------------------------------------------------------------------

    def owners(self, region: Region) -> npt.NDArray[np.int32]:
        """Return the owners of the residues of a region, as a view."""
        base = int(self.pool.offsets[region.sequence])
        return self.owner[base + region.start - 1 : base + region.end]

    def is_free(self, region: Region) -> bool:
        """Return whether no family has any residue of a region."""
        return bool((self.owners(region) == FREE).all())

    def free_residues(self, index: int) -> int:
        """Return the number of residues of a sequence without a family."""
        return int(np.count_nonzero(self.owner[self.pool.offsets[index] : self.pool.offsets[index + 1]] == FREE))

    def free_stretches(self, index: int) -> list[Region]:
        """Return the stretches of a sequence that no family has."""
        low, high = self.pool.offsets[index], self.pool.offsets[index + 1]
        return [Region(index, int(a) + 1, int(b)) for a, b in _free_runs(self.owner[low:high])]

    def free_part(self, region: Region) -> tuple[Region | None, int]:
        """Return the longest free run of a region if it is most of it, and the family that owns most of the rest."""
        owners = self.owners(region)
        taken = owners[owners != FREE]
        if not len(taken):
            return region, FREE
        numbers, counts = np.unique(taken, return_counts=True)
        family = int(numbers[np.argmax(counts)])
        runs = _free_runs(owners)
        if len(runs):
            start, end = runs[np.argmax(runs[:, 1] - runs[:, 0])]
            if end - start >= self.settings.coverage * region.length:
                return Region(region.sequence, region.start + int(start), region.start + int(end) - 1), family
        return None, family

    def sort_out(self, hits: Iterable[Hit]) -> tuple[list[Hit], dict[int, list[Hit]]]:
        """Return the hits in free residues, cut to them and to one another, and those that families have already."""
        members: list[Hit] = []
        claimed: dict[int, list[Hit]] = {}
        had: dict[int, list[Region]] = {}
        for hit in hits:
            region, owner = self.free_part(hit.region)
            if region is None:
                claimed.setdefault(owner, []).append(hit)
                continue
            # Envelopes of neighbouring domains may overlap by some residues: the better hit has them.
            for other in had.get(region.sequence, ()):
                if region is None or other.end < region.start or region.end < other.start:
                    continue
                left = Region(region.sequence, region.start, other.start - 1)
                right = Region(region.sequence, other.end + 1, region.end)
                rest = max(left, right, key=lambda r: r.length)
                region = rest if 2 * rest.length >= hit.region.length else None
            if region is not None:
                had.setdefault(region.sequence, []).append(region)
                members.append(replace(hit, region=region))
        return members, claimed

    # -- taking and giving back ----------------------------------------------------------------------------------------

    def take(self, group: Group) -> int:
        """Enter a new family, with the frayed ends of its members, and return its number."""
        number = self._next
        self._next += 1
        for hit in group.members:
            self.owners(hit.region)[:] = number
        self.groups[number] = Group(group.profile, [self._kept(hit, number, group.length) for hit in group.members])
        return number

    def add(self, number: int, hit: Hit) -> None:
        """Add a member to a family, including its uncertain ends."""
        self.owners(hit.region)[:] = number
        group = self.groups[number]
        group.members.append(self._kept(hit, number, group.length))

    def dissolve(self, number: int) -> Group:
        """Set the members of a family free and return it."""
        group = self.groups.pop(number)
        for hit in group.members:
            part = self.owners(hit.region)
            part[part == number] = FREE
        return group

    def restore(self, number: int, group: Group) -> None:
        """Undo `dissolve`."""
        self.groups[number] = group
        for hit in group.members:
            self.owners(hit.region)[:] = number

    def _kept(self, hit: Hit, number: int, length: int) -> Hit:
        region = self._with_ends(hit, length)
        self.owners(region)[:] = number
        return replace(hit, region=region)

    def _with_ends(self, hit: Hit, length: int) -> Region:
        """Return a member's region extended by adjacent free residues that its alignment did not reach.

        A flank is included if the profile positions missing from the alignment on that side account for it, within `_FRAYED`
        residues. A longer flank may contain a separate domain and stays free.
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


def _free_runs(owners: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return start and end of each run of free residues, counted from 0, the end exclusive, shape (runs, 2)."""
    free = np.concatenate(([False], owners == FREE, [False]))
    return np.flatnonzero(free[1:] != free[:-1]).reshape(-1, 2)
