"""Growth of a family from a seed by iterated profile search.

As in PSI-BLAST (Altschul et al. 1997, doi:10.1093/nar/25.17.3389) and jackhmmer (Johnson, Eddy and Portugaly 2010,
doi:10.1186/1471-2105-11-431), a profile is built and searched until it finds no new members. Two additions restrict a family
to one domain:

- before the first profile is built, the seed is trimmed to the region shared by its hits;
- a member must cover more than half of the profile, so any two members overlap. Proteins related only through a third
  protein that contains a domain of each are never in the same family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.families.residue_assignment import ResidueAssignment
from phylocli.families.searching import Hit, Region, Searcher, rows_of

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

# Maximum number of neighbours searched with the single seed sequence, evenly spaced by length. The others are searched with
# the profile, which takes the same time and is more sensitive.
_MOST_FIRST = 30
# All sequences are searched again with the final profile if more than this fraction of hits came after the first round.
_FOUND_LATER = 0.3
# Cost of an unaligned residue relative to the gain of an aligned one; see `shared_region`. High, because a region that is
# too short can be extended later by its flanks or by merging, but one that is too long is never shortened.
_UNALIGNED_COST = 1.5

# Returns members and their neighbours: the sequences to search for further members.
Neighbours = Callable[[Iterable[int]], set[int]]


@dataclass
class Grown:
    """The family grown from a seed.

    Attributes:
        profile: the profile HMM of the last round; None if the seed has no homologs.
        members: hits in unassigned regions, best first; empty without a profile.
        claimed: hits in regions of existing families, by the number of the family.
    """

    profile: HMM | None = None
    members: list[Hit] = field(default_factory=list)
    claimed: dict[int, list[Hit]] = field(default_factory=dict)


def shared_region(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], length: int, coverage: float, shortest: int = 1
) -> tuple[int, int]:
    """Return the region of a query that its hits have in common, 1-based and inclusive.

    Candidates are the aligned region of each hit and the whole query. A candidate's value is the number of aligned residues
    minus `_UNALIGNED_COST` times the number of unaligned residues, summed over the hits that cover at least `coverage` of
    it; the candidate with the highest value is returned. A long region that few hits cover has a lower value than the part
    that they share. This separates the domains of a multi-domain protein, because hits to a domain end at its boundaries.
    Ties are resolved in favour of the longer region, then of the first.

    Args:
        starts: first query position of each hit, 1-based, shape (hits,).
        ends: last query position of each hit, inclusive, shape (hits,).
        length: length of the query.
        coverage: minimum fraction of a region that a hit must cover to be counted.
        shortest: minimum length of the region, unless the query is shorter.
    """
    candidates = np.unique(np.stack([np.append(starts, 1), np.append(ends, length)], axis=1), axis=0)
    candidates = candidates[candidates[:, 1] - candidates[:, 0] + 1 >= min(shortest, length)]
    first, last = candidates[:, :1], candidates[:, 1:]
    sizes = (last - first + 1)[:, 0]
    overlap = np.minimum(last, ends[None, :]) - np.maximum(first, starts[None, :]) + 1
    covers = overlap >= coverage * sizes[:, None]
    worth = np.where(covers, overlap - _UNALIGNED_COST * (sizes[:, None] - overlap), 0).sum(axis=1)
    best = max(range(len(candidates)), key=lambda i: (worth[i], sizes[i], -candidates[i, 0]))
    return int(candidates[best, 0]), int(candidates[best, 1])


def grow(searcher: Searcher, seed: Region, assignment: ResidueAssignment, neighbours: Neighbours) -> Grown:
    """Grow a family from an unassigned region of a sequence.

    The first search uses the region itself. Its hits determine the domain and the first profile, whose match columns are
    kept in all rounds. In each round, a profile of the current members is searched against the remaining candidates, until
    there are no new hits. If many hits came after the first round, all candidates are searched with the final profile.
    """
    settings = searcher.settings
    candidates = neighbours([seed.sequence])
    others = [i for i in sorted(candidates - {seed.sequence}) if assignment.free_residues(i) >= settings.min_length]
    if len(others) > _MOST_FIRST:
        others = [others[i] for i in np.linspace(0, len(others) - 1, _MOST_FIRST).astype(int)]
    first = searcher.by_sequence(seed, others)
    free = [hit for hit in first if assignment.free_part(hit.region)[0] is not None]
    if not free:
        return Grown()
    free.insert(0, searcher.self_hit(seed))
    starts = np.array([hit.profile_start for hit in free])
    ends = np.array([hit.profile_end for hit in free])
    start, end = shared_region(starts, ends, seed.length, settings.coverage, settings.min_length)
    profile = searcher.builders.profile(rows_of([_cut(hit, start, end) for hit in free], end - start + 1, settings.coverage))
    if profile is None:
        return Grown()
    hits = searcher.covering(profile, candidates)
    at_first = len(hits)
    found: set[int] = set()
    for _ in range(settings.max_rounds - 1):
        members, _claimed = assignment.partition(hits)
        if len(members) < 2:
            break
        found = {hit.region.sequence for hit in hits}
        candidates = neighbours({seed.sequence, *(hit.region.sequence for hit in members)})
        profile = searcher.builders.profile(rows_of(members, profile.M, settings.coverage), fixed=True) or profile
        more = searcher.covering(profile, candidates - found)
        if not more:
            break
        hits += more
    if len(hits) - at_first > _FOUND_LATER * len(hits):
        hits = searcher.covering(profile, candidates | found)
    members, claimed = assignment.partition(hits)
    return Grown(profile, members, claimed)


def _cut(hit: Hit, start: int, end: int) -> Hit:
    """Return a hit with its alignment trimmed to the profile positions [start, end], renumbered from `start`."""
    low, high = max(hit.profile_start, start), min(hit.profile_end, end)
    row = hit.row[low - hit.profile_start : high - hit.profile_start + 1] if high >= low else b""
    return Hit(hit.region, hit.score, hit.evalue, low - start + 1, high - start + 1, row)
