"""From one seed to a family: choose the seed's domain, build a profile, search, and go on until no member is new.

An iterated profile search, as PSI-BLAST (Altschul et al. 1997, doi:10.1093/nar/25.17.3389) and jackhmmer (Johnson, Eddy and
Portugaly 2010, doi:10.1186/1471-2105-11-431) do it, with two additions that keep it to one domain:

- the seed is cut to the stretch on which its hits agree, before any profile is built;
- a member has to cover more than half of the profile, so any two members share a part of it, and proteins that have nothing
  in common but a third, which holds a domain of each, never meet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from pyhmmer import easel, plan7

from phylocli.families.pool import AMINO, Pool

# A profile learns little from more rows than this; it keeps building time bounded in families of thousands.
_MOST_ROWS = 400
_BUILDER_SEED = 42
# Random sequences that a profile's E-values are calibrated with; HMMER's own 200 take twice the time for 0.1 bit.
_CALIBRATION = 100
# A last search of everything is worth it where so large a part was found after the first.
_FOUND_LATER = 0.1
# What a residue costs that a hit leaves out of a stretch, where one that it aligns is worth 1; see `agreed_stretch`.
# High, as a stretch that is too short is mended later by its flanks or by a family beside it, one too long is not.
_UNALIGNED_COST = 1.5
# Columns with fewer residues are insertions. HMMER's own 0.5 would shorten the profile round by round, as members that are
# aligned in part leave its ends thin.
_COLUMN_OCCUPANCY = 0.2
# HMMER reports what lies on both sides of a long insertion or a worn stretch as two domains; such pieces are chained up to
# these distances, in profile positions and in residues of the target.
_CHAIN_GAP = 100
CHAIN_INSERTION = 200
_CHAIN_OVERLAP = 15


@dataclass(frozen=True)
class Settings:
    """What makes a hit a member.

    Attributes:
        evalue: highest E-value of a domain hit (HMMER's independent E-value, for a search of all sequences given).
        coverage: smallest part of the profile that a member covers, more than 0.5.
        min_length: shortest stretch, in residues, that is tried as a domain of its own.
        max_rounds: most searches with one profile.
        threads: CPU threads; no result depends on it.
    """

    evalue: float = 1e-3
    coverage: float = 0.6
    min_length: int = 30
    max_rounds: int = 6
    threads: int = 1


@dataclass(frozen=True)
class Region:
    """A part of a sequence: `sequence` is an index of the pool, `start` and `end` are 1-based and inclusive."""

    sequence: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Length in residues."""
        return self.end - self.start + 1


@dataclass(frozen=True)
class Hit:
    """A domain hit.

    Attributes:
        region: the envelope on the target.
        score: bits.
        evalue: HMMER's independent E-value.
        profile_start: first profile position of the alignment, 1-based.
        profile_end: last one, inclusive.
        row: the aligned letters of those positions, `-` where the target has none; insertions left out.
    """

    region: Region
    score: float
    evalue: float
    profile_start: int
    profile_end: int
    row: bytes


@dataclass
class Group:
    """A family in the making: its profile, and its members, best first."""

    profile: Any
    members: list[Hit]


@dataclass
class Grown:
    """What came of a seed.

    Attributes:
        profile: the HMM of the last round; None where the seed has no homolog.
        members: the hits in residues that no family had, best first. Without a profile: none.
        claimed: hits in residues that a family had already, by that family's number.
    """

    profile: Any = None
    members: list[Hit] = field(default_factory=list)
    claimed: dict[int, list[Hit]] = field(default_factory=dict)


class Searcher:
    """HMMER, set up once a thread: the same seed for every profile, so that results do not depend on the thread."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self.pool = pool
        self.settings = settings
        self._local = threading.local()

    def _tools(self) -> tuple[Any, Any, Any, Any]:
        if not hasattr(self._local, "tools"):
            background = plan7.Background(AMINO)
            common: dict[str, Any] = {"seed": _BUILDER_SEED, "EmN": _CALIBRATION, "EvN": _CALIBRATION, "EfN": _CALIBRATION}
            builder = plan7.Builder(AMINO, symfrac=_COLUMN_OCCUPANCY, **common)
            fixed = plan7.Builder(AMINO, architecture="hand", **common)
            cutoff = self.settings.evalue
            pipeline = plan7.Pipeline(
                AMINO, background, Z=len(self.pool), E=cutoff, incE=cutoff, domE=cutoff, incdomE=cutoff, seed=_BUILDER_SEED
            )
            self._local.tools = (background, builder, fixed, pipeline)
        return self._local.tools

    def by_sequence(self, seed: Region, candidates: Iterable[int]) -> list[Hit]:
        """Search with a single stretch, as phmmer does."""
        _, builder, _, pipeline = self._tools()
        pipeline.clear()
        query = self.pool.segment(seed.sequence, seed.start, seed.end)
        return self._hits(pipeline.search_seq(query, self.pool.block(sorted(candidates)), builder))

    def by_profile(self, profile: Any, candidates: Iterable[int]) -> list[Hit]:
        """Search with a profile, as hmmsearch does."""
        *_, pipeline = self._tools()
        pipeline.clear()
        return self._hits(pipeline.search_hmm(profile, self.pool.block(sorted(candidates))))

    def members(self, profile: Any, candidates: Iterable[int], state: State) -> list[Hit]:
        """Return the hits of a profile that make members: of residues that are free, and of enough of the profile."""
        return _sort_out(_covering(self.by_profile(profile, candidates), profile.M, self.settings.coverage), state)[0]

    def build(self, rows: list[bytes], *, fixed: bool = False) -> Any:
        """Return the profile HMM of aligned rows, or None where HMMER can make none.

        Match columns are all columns where `fixed`, else those with residues enough.
        """
        background, by_occupancy, by_hand, _ = self._tools()
        builder = by_hand if fixed else by_occupancy
        if len(rows) > _MOST_ROWS:
            rows = [rows[i] for i in np.linspace(0, len(rows) - 1, _MOST_ROWS).astype(int)]
        alignment = easel.TextMSA(
            name="family",
            sequences=[easel.TextSequence(name=str(i), sequence=row.decode()) for i, row in enumerate(rows)],
        )
        if fixed and rows:
            alignment.reference = "x" * len(rows[0])
        try:
            profile, _, _ = builder.build_msa(alignment.digitize(AMINO), background)
        except ValueError:
            return None
        return profile

    def _hits(self, found: Any) -> list[Hit]:
        hits = []
        for hit in found:
            if not hit.reported:
                continue
            index = int(hit.name)
            for domain in hit.domains:
                if domain.i_evalue > self.settings.evalue:
                    continue
                alignment = domain.alignment
                letters = np.frombuffer(alignment.target_sequence.encode("ascii"), dtype=np.uint8)
                model = np.frombuffer(alignment.hmm_sequence.encode("ascii"), dtype=np.uint8)
                row = letters[model != ord(".")].tobytes().upper()
                region = Region(index, domain.env_from, domain.env_to)
                hits.append(Hit(region, domain.score, domain.i_evalue, alignment.hmm_from, alignment.hmm_to, row))
        hits = chained(hits)
        hits.sort(key=lambda h: (-h.score, h.region.sequence, h.region.start))
        return hits


def chained(hits: list[Hit]) -> list[Hit]:
    """Return the hits of one search, pieces of one domain joined: collinear in profile and target, and close to each other.

    Repeats of a domain are not joined: the second starts anew in the profile. A joined hit has the sum of the scores and the
    better E-value.
    """
    joined: list[Hit] = []
    for hit in sorted(hits, key=lambda h: (h.region.sequence, h.region.start, h.region.end)):
        before = joined[-1] if joined else None
        if before is None or before.region.sequence != hit.region.sequence:
            joined.append(hit)
            continue
        gap = hit.profile_start - before.profile_end - 1
        distance = hit.region.start - before.region.end - 1
        if not (
            -_CHAIN_OVERLAP <= gap <= _CHAIN_GAP and distance <= CHAIN_INSERTION and hit.profile_end > before.profile_end
        ):
            joined.append(hit)
            continue
        row = before.row + b"-" * gap + hit.row if gap >= 0 else before.row + hit.row[-gap:]
        region = Region(hit.region.sequence, before.region.start, max(before.region.end, hit.region.end))
        evalue = min(before.evalue, hit.evalue)
        joined[-1] = Hit(region, before.score + hit.score, evalue, before.profile_start, hit.profile_end, row)
    return joined


def agreed_stretch(
    starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], length: int, coverage: float, shortest: int = 1
) -> tuple[int, int]:
    """Return the stretch of a query that most hits agree on, 1-based and inclusive.

    Of the stretches that the hits align, and the whole query, it is the one of most worth: over the hits that overlap with
    at least `coverage` of it, the residues that they align less `_UNALIGNED_COST` times those that they leave out. A long
    stretch that few hits cover, or that many leave a good part of, gives way to the part that they share, which is how the
    domains of a protein of several show: hits to one of them end with it. Ties go to the longer stretch, then to the first.

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


class State(Protocol):
    """What growing has to know of the sequences and of the families there are."""

    def neighbours(self, members: Iterable[int]) -> set[int]:
        """Return the sequences worth a search for those that are members, and these themselves."""

    def free_residues(self, index: int) -> int:
        """Return how many residues of a sequence no family has."""

    def free_part(self, region: Region) -> tuple[Region | None, int]:
        """Return the part of a region that is free (None where most of it is not), and the family that has the rest."""


def grow(searcher: Searcher, seed: Region, state: State) -> Grown:
    """Grow a family from a stretch of a sequence that no family has.

    The first search is with the stretch itself; its hits choose the domain and make the first profile, whose match columns
    stay. Then what was not found is searched again with a profile of what was, until nothing is new, and at the end
    everything once more with the last profile.
    """
    settings = searcher.settings
    candidates = state.neighbours([seed.sequence])
    first = searcher.by_sequence(
        seed, [i for i in candidates if i == seed.sequence or state.free_residues(i) >= settings.min_length]
    )
    free = [hit for hit in first if state.free_part(hit.region)[0] is not None]
    if all(_is_self(hit, seed) for hit in free):
        return Grown()
    starts = np.array([hit.profile_start for hit in free])
    ends = np.array([hit.profile_end for hit in free])
    start, end = agreed_stretch(starts, ends, seed.length, settings.coverage, settings.min_length)
    profile = searcher.build(rows_of([_cut(hit, start, end) for hit in free], end - start + 1, settings.coverage))
    if profile is None:
        return Grown()
    hits = _covering(searcher.by_profile(profile, candidates), profile.M, settings.coverage)
    at_first = len(hits)
    found: set[int] = set()
    for _ in range(settings.max_rounds - 1):
        members, _claimed = _sort_out(hits, state)
        if len(members) < 2:
            break
        found = {hit.region.sequence for hit in hits}
        candidates = state.neighbours({seed.sequence, *(hit.region.sequence for hit in members)})
        profile = searcher.build(rows_of(members, profile.M, settings.coverage), fixed=True) or profile
        more = _covering(searcher.by_profile(profile, candidates - found), profile.M, settings.coverage)
        if not more:
            break
        hits += more
    if len(hits) - at_first > _FOUND_LATER * len(hits):
        hits = _covering(searcher.by_profile(profile, candidates | found), profile.M, settings.coverage)
    members, claimed = _sort_out(hits, state)
    return Grown(profile, members, claimed)


def _is_self(hit: Hit, seed: Region) -> bool:
    region = hit.region
    return region.sequence == seed.sequence and region.start <= seed.end and seed.start <= region.end


def _covering(hits: list[Hit], length: int, coverage: float) -> list[Hit]:
    return [hit for hit in hits if _covers(hit, length, coverage)]


def _covers(hit: Hit, length: int, coverage: float) -> bool:
    return hit.profile_end - hit.profile_start + 1 >= coverage * length


def _cut(hit: Hit, start: int, end: int) -> Hit:
    """Return a hit with its alignment cut to the profile positions [start, end], counted from `start` on."""
    low, high = max(hit.profile_start, start), min(hit.profile_end, end)
    row = hit.row[low - hit.profile_start : high - hit.profile_start + 1] if high >= low else b""
    return Hit(hit.region, hit.score, hit.evalue, low - start + 1, high - start + 1, row)


def rows_of(hits: list[Hit], length: int, coverage: float) -> list[bytes]:
    """Return the aligned rows, of one length, of the hits that cover enough of a profile or query of `length`."""
    return [row_of(hit, length) for hit in hits if _covers(hit, length, coverage)]


def row_of(hit: Hit, length: int) -> bytes:
    """Return a hit's letters at all positions of a profile of this length."""
    return b"-" * (hit.profile_start - 1) + hit.row + b"-" * (length - hit.profile_end)


def _sort_out(hits: list[Hit], state: State) -> tuple[list[Hit], dict[int, list[Hit]]]:
    """Return the hits in free residues, cut to them and to one another, and those that families have already."""
    members: list[Hit] = []
    claimed: dict[int, list[Hit]] = {}
    had: dict[int, list[Region]] = {}
    for hit in hits:
        region, owner = state.free_part(hit.region)
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
            members.append(Hit(region, hit.score, hit.evalue, hit.profile_start, hit.profile_end, hit.row))
    return members, claimed
