"""Growth of a family from one seed: choose the seed's domain, build a profile, search, and repeat until no member is new.

An iterated profile search, as PSI-BLAST (Altschul et al. 1997, doi:10.1093/nar/25.17.3389) and jackhmmer (Johnson, Eddy and
Portugaly 2010, doi:10.1186/1471-2105-11-431) do it, with two additions that keep it to one domain:

- the seed is cut to the stretch on which its hits agree, before any profile is built;
- a member must cover more than half of the profile, so any two members overlap, and proteins that are related only through a
  third protein with a domain of each are never in one family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from phylocli.families.residue_assignment import Ledger
from phylocli.families.searching import Hit, Region, Searcher, rows_of

if TYPE_CHECKING:
    from pyhmmer.plan7 import HMM

# Maximum number of neighbours that the seed itself is searched against, evenly spaced by length; the rest are searched with
# the profile, which takes the same time and is more sensitive.
_MOST_FIRST = 30
# A last search of everything is worth it where so large a part was found after the first.
_FOUND_LATER = 0.3
# Cost of a residue of a region that a hit does not align, relative to the gain of an aligned one; see `agreed_stretch`.
# High, since a region that is too short is extended later by its flanks or by an adjacent family, but not shortened.
_UNALIGNED_COST = 1.5

# From members to the sequences that are worth a search for more, with themselves.
Neighbours = Callable[[Iterable[int]], set[int]]


@dataclass
class Grown:
    """The result of a seed.

    Attributes:
        profile: the HMM of the last round; None if the seed has no homolog.
        members: the hits in residues that no family had, best first. Without a profile: none.
        claimed: hits in residues that a family had already, by that family's number.
    """

    profile: HMM | None = None
    members: list[Hit] = field(default_factory=list)
    claimed: dict[int, list[Hit]] = field(default_factory=dict)


def agreed_stretch(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], length: int, coverage: float, shortest: int = 1
) -> tuple[int, int]:
    """Return the stretch of a query that most hits agree on, 1-based and inclusive.

    Of the regions aligned by the hits, and the whole query, this is the one with the highest value: over the hits that
    overlap with at least `coverage` of it, the number of aligned residues minus `_UNALIGNED_COST` times the number of
    unaligned ones. A long region that few hits cover, or of which many miss a large part, loses to their common part; this
    separates the domains of a multi-domain protein, since hits to one of them end with it. Ties go to the longer region,
    then to the first.

    Args:
        starts: first query position of each hit, 1-based, shape (hits,).
        ends: last one, inclusive.
        length: of the query.
        coverage: see above.
        shortest: no stretch shorter than this is chosen, the whole query aside.
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


def grow(searcher: Searcher, seed: Region, ledger: Ledger, neighbours: Neighbours) -> Grown:
    """Grow a family from a stretch of a sequence that no family has.

    The first search is with the region itself; its hits choose the domain and make the first profile, whose match columns
    are kept. Then the sequences not found are searched again with a profile of those found, until there are no new ones, and
    finally all are searched with the last profile.
    """
    settings = searcher.settings
    candidates = neighbours([seed.sequence])
    others = [i for i in sorted(candidates - {seed.sequence}) if ledger.free_residues(i) >= settings.min_length]
    if len(others) > _MOST_FIRST:
        others = [others[i] for i in np.linspace(0, len(others) - 1, _MOST_FIRST).astype(int)]
    first = searcher.by_sequence(seed, others)
    free = [hit for hit in first if ledger.free_part(hit.region)[0] is not None]
    if not free:
        return Grown()
    free.insert(0, searcher.itself(seed))
    starts = np.array([hit.profile_start for hit in free])
    ends = np.array([hit.profile_end for hit in free])
    start, end = agreed_stretch(starts, ends, seed.length, settings.coverage, settings.min_length)
    profile = searcher.builders.profile(rows_of([_cut(hit, start, end) for hit in free], end - start + 1, settings.coverage))
    if profile is None:
        return Grown()
    hits = searcher.covering(profile, candidates)
    at_first = len(hits)
    found: set[int] = set()
    for _ in range(settings.max_rounds - 1):
        members, _claimed = ledger.sort_out(hits)
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
    members, claimed = ledger.sort_out(hits)
    return Grown(profile, members, claimed)


def _cut(hit: Hit, start: int, end: int) -> Hit:
    """Return a hit with its alignment cut to the profile positions [start, end], counted from `start` on."""
    low, high = max(hit.profile_start, start), min(hit.profile_end, end)
    row = hit.row[low - hit.profile_start : high - hit.profile_start + 1] if high >= low else b""
    return Hit(hit.region, hit.score, hit.evalue, low - start + 1, high - start + 1, row)
