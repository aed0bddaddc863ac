"""Assignment of residues to families; each residue is in at most one family."""

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

# Maximum number of flanking residues added to a member, because ends of local alignments are uncertain. Too short to contain
# a domain.
_MAX_EXTRA_FLANK = 10
FREE = -1


@dataclass
class Group:
    """A group of homologous regions, which becomes a family.

    Attributes:
        profile: profile HMM; None if HMMER cannot build one.
        members: hits, best first.
        groups: representative of the group of close homologs of each sequence, both as indices in the pool; empty if the
            engine makes no groups.
    """

    profile: HMM | None
    members: list[Hit]
    groups: dict[int, int] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Number of match states of the profile."""
        return self.profile.M if self.profile is not None else 0


class ResidueAssignment:
    """The current assignment of the residues of a pool to families.

    Attributes:
        owner: number of the family of each residue, or `FREE`, shape (residues,).
        groups: the current families, by number.
    """

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self.pool = pool
        self.settings = settings
        self.groups: dict[int, Group] = {}
        self.owner: npt.NDArray[np.int32] = np.full(int(pool.offsets[-1]), FREE, dtype=np.int32)
        self._next = 0

    # -- unassigned residues -------------------------------------------------------------------------------------------

    def owners(self, region: Region) -> npt.NDArray[np.int32]:
        """Return the family number of each residue of a region, as a view of `owner`."""
        base = int(self.pool.offsets[region.sequence])
        return self.owner[base + region.start - 1 : base + region.end]

    def is_free(self, region: Region) -> bool:
        """Return whether all residues of a region are unassigned."""
        return bool((self.owners(region) == FREE).all())

    def free_residues(self, index: int) -> int:
        """Return the number of unassigned residues of a sequence."""
        return int(np.count_nonzero(self.owner[self.pool.offsets[index] : self.pool.offsets[index + 1]] == FREE))

    def free_regions(self, index: int) -> list[Region]:
        """Return the unassigned regions of a sequence."""
        low, high = self.pool.offsets[index], self.pool.offsets[index + 1]
        return [Region(index, int(a) + 1, int(b)) for a, b in _free_runs(self.owner[low:high])]

    def free_part(self, region: Region) -> tuple[Region | None, int]:
        """Return the longest unassigned part of a region, and the family with most of the assigned residues.

        The part is None if it is shorter than `coverage` of the region; the family is `FREE` if no residue is assigned.
        """
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

    def partition(self, hits: Iterable[Hit]) -> tuple[list[Hit], dict[int, list[Hit]]]:
        """Separate hits in unassigned regions from hits in existing families.

        Returns:
            The hits in unassigned regions, trimmed to these and so that they do not overlap; and the other hits, by the
            number of the family.
        """
        members: list[Hit] = []
        claimed: dict[int, list[Hit]] = {}
        had: dict[int, list[Region]] = {}
        for hit in hits:
            region, owner = self.free_part(hit.region)
            if region is None:
                claimed.setdefault(owner, []).append(hit)
                continue
            # Envelopes of adjacent domains may overlap slightly; the better hit keeps these residues.
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

    # -- assignment ----------------------------------------------------------------------------------------------------

    def take(self, group: Group) -> int:
        """Add a new family, extending its members by their uncertain ends, and return its number."""
        number = self._next
        self._next += 1
        for hit in group.members:
            self.owners(hit.region)[:] = number
        self.groups[number] = Group(group.profile, [self._kept(hit, number, group.length) for hit in group.members])
        return number

    def add(self, number: int, hit: Hit) -> None:
        """Add a member to a family, extended by its uncertain ends."""
        self.owners(hit.region)[:] = number
        group = self.groups[number]
        group.members.append(self._kept(hit, number, group.length))

    def dissolve(self, number: int) -> Group:
        """Remove a family, marking its residues as unassigned, and return it."""
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
        """Return a member's region extended by its unassigned flanks.

        A flank is included if it is at most `_MAX_EXTRA_FLANK` residues longer than the part of the profile that the
        alignment misses on that side. A longer flank may contain a separate domain and stays unassigned.
        """
        region = hit.region
        base = int(self.pool.offsets[region.sequence])
        owners = self.owner[base : int(self.pool.offsets[region.sequence + 1])]
        taken = np.flatnonzero(owners[: region.start - 1] != FREE)
        left = int(taken[-1]) + 2 if len(taken) else 1
        taken = np.flatnonzero(owners[region.end :] != FREE)
        right = region.end + int(taken[0]) if len(taken) else len(owners)
        start = left if region.start - left <= hit.profile_start - 1 + _MAX_EXTRA_FLANK else region.start
        end = right if right - region.end <= length - hit.profile_end + _MAX_EXTRA_FLANK else region.end
        return Region(region.sequence, start, end)


def _free_runs(owners: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Return start (0-based) and end (exclusive) of each run of unassigned residues, shape (runs, 2)."""
    free = np.concatenate(([False], owners == FREE, [False]))
    return np.flatnonzero(free[1:] != free[:-1]).reshape(-1, 2)
