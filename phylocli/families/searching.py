"""HMMER searches with a region of a sequence (phmmer) or a profile (hmmsearch)."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyhmmer.errors import UnexpectedError

from phylocli.families.pool import Pool
from phylocli.families.profiles import SEED, Builders
from phylocli.hmmer import SearchOptions

if TYPE_CHECKING:
    from pyhmmer import plan7

# HMMER reports the parts on both sides of a long insertion or a divergent region as two domains. They are chained if the gap
# is at most this long, in profile positions and in residues of the target.
_CHAIN_GAP = 100
CHAIN_INSERTION = 200
_CHAIN_OVERLAP = 15


@dataclass(frozen=True)
class Settings:
    """Settings of the search for members.

    Attributes:
        evalue: maximum E-value of a domain hit (HMMER's independent E-value, for a search of the whole pool).
        coverage: minimum fraction of the profile that a member covers, greater than 0.5.
        min_length: minimum length, in residues, of a region that is used as a seed.
        max_rounds: maximum number of search rounds per seed.
        min_size: minimum number of members of a family; an engine may leave out smaller ones.
        threads: number of CPU threads; results do not depend on it.
    """

    evalue: float = 1e-3
    coverage: float = 0.6
    min_length: int = 30
    max_rounds: int = 6
    min_size: int = 1
    threads: int = 1


@dataclass(frozen=True)
class Region:
    """A region of a sequence: `sequence` is its index in the pool, `start` and `end` are 1-based and inclusive."""

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
        score: score in bits.
        evalue: HMMER's independent E-value.
        profile_start: first aligned profile position, 1-based.
        profile_end: last aligned profile position, inclusive.
        row: aligned letter at each of these positions, `-` for deletions; insertions are omitted.
    """

    region: Region
    score: float
    evalue: float
    profile_start: int
    profile_end: int
    row: bytes


class Searcher:
    """Runs HMMER with one pipeline per thread. All use the same seed, so results do not depend on the thread."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self.pool = pool
        self.settings = settings
        self.builders = Builders()
        self._local = threading.local()

    def _pipeline(self) -> plan7.Pipeline:
        if not hasattr(self._local, "pipeline"):
            options = SearchOptions(self.settings.evalue, database_size=len(self.pool), seed=SEED)
            self._local.pipeline = options.pipeline(self.builders.background())
        self._local.pipeline.clear()
        return self._local.pipeline

    def by_sequence(self, seed: Region, candidates: Iterable[int]) -> list[Hit]:
        """Search with a region of a sequence, as in phmmer; returns no hits if HMMER cannot calibrate its profile."""
        query = self.pool.segment(seed.sequence, seed.start, seed.end)
        block = self.pool.block(sorted(candidates))
        try:
            return self._hits(self._pipeline().search_seq(query, block, self.builders.single_sequence()))
        except UnexpectedError:
            return []

    def self_hit(self, seed: Region) -> Hit:
        """Return the hit of a region to itself, without a search."""
        letters = self.pool.letters(seed.sequence)[seed.start - 1 : seed.end]
        return Hit(seed, math.inf, 0.0, 1, seed.length, letters)

    def by_profile(self, profile: plan7.HMM, candidates: Iterable[int]) -> list[Hit]:
        """Search with a profile, as in hmmsearch."""
        return self._hits(self._pipeline().search_hmm(profile, self.pool.block(sorted(candidates))))

    def covering(self, profile: plan7.HMM, candidates: Iterable[int]) -> list[Hit]:
        """Return the hits of a profile that cover at least the fraction `settings.coverage` of it."""
        return [hit for hit in self.by_profile(profile, candidates) if covers(hit, profile.M, self.settings.coverage)]

    def _hits(self, found: plan7.TopHits) -> list[Hit]:
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
    """Join hits that are parts of the same domain: collinear in profile and target, and close to each other.

    Repeats of a domain are not joined, because they align to the same profile positions. A joined hit has the sum of the
    scores and the lower E-value.
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


def covers(hit: Hit, length: int, coverage: float) -> bool:
    """Return whether a hit covers at least the fraction `coverage` of a profile or query of this length."""
    return hit.profile_end - hit.profile_start + 1 >= coverage * length


def rows_of(hits: list[Hit], length: int, coverage: float) -> list[bytes]:
    """Return the aligned rows, each of `length` letters, of the hits that cover at least the fraction `coverage`."""
    return [row_of(hit, length) for hit in hits if covers(hit, length, coverage)]


def row_of(hit: Hit, length: int) -> bytes:
    """Return the letters of a hit at all positions of a profile of this length, `-` outside the alignment."""
    return b"-" * (hit.profile_start - 1) + hit.row + b"-" * (length - hit.profile_end)
