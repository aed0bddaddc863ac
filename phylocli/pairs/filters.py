"""Filters of pairs besides distance: identity and coverage of aligned rows, and limits per sequence and per ancestor."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from phylocli.config.pairs import SamplingConfig
from phylocli.core.alphabet import MISSING, encode_states
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import SAY_DNA, NucleotideCheck
from phylocli.pairs.bands import Band
from phylocli.pairs.sampler import PairSampler, distinct_integers
from phylocli.pairs.schemes import LISTED_UP_TO, ListedPool, UniformPool
from phylocli.pairs.types import CHUNK_ROWS, Draw
from phylocli.statistics import identity_of_rows

logger = logging.getLogger(__name__)

_CELLS = 4_000_000  # residues compared at a time
_EXAMINED = 1_000_000  # minimum number of pairs examined in a band that is too large to examine completely


class AlignedRows:
    """A family's rows over its match columns, prepared for pairwise comparison.

    Args:
        family: aligned.
        tips: its members in the order of the pairs' numbers.
        alphabet: `protein` or `dna`.

    Raises:
        BadInputError: the family is not aligned.
    """

    def __init__(self, family: Family, tips: list[str], alphabet: str = "protein") -> None:
        if not family.aligned:
            raise BadInputError(
                f"{family.label} is not aligned, so identity and coverage are undefined", fix="use 'phylocli align'"
            )
        place = {name: k for k, name in enumerate(family.ids)}
        NucleotideCheck(alphabet, SAY_DNA).check(family.rows, family.label)
        states = encode_states(family.rows, alphabet)[:, family.match_columns()]
        self.states: npt.NDArray[np.uint8] = states[[place[name] for name in tips]]
        self.lengths = (self.states != MISSING).sum(axis=1)

    def compare(
        self, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return identity and coverage of pairs, shapes (m,), each from 0 to 1.

        Identity is that of `phylocli.statistics.identity_of_rows` over match columns. Coverage is the number of match
        columns in which both rows have a residue, over the larger of the two rows' numbers of residues.
        """
        identity, coverage = np.zeros(len(i)), np.zeros(len(i))
        step = max(1, _CELLS // max(1, self.states.shape[1]))
        for start in range(0, len(i), step):
            part = slice(start, start + step)
            a, b = self.states[i[part]], self.states[j[part]]
            identity[part], shared = identity_of_rows(a, b)
            coverage[part] = shared / np.maximum(np.maximum(self.lengths[i[part]], self.lengths[j[part]]), 1)
        return identity, coverage


def limited_pool(
    family: Family, tips: list[str], sampler: PairSampler, band: Band, config: SamplingConfig, rng: np.random.Generator
) -> ListedPool:
    """Return the pairs of a band that pass the filters of a configuration, as a list to sample from.

    Bands of up to 4 million pairs are examined completely. In larger ones a uniform sample of at least a million pairs is
    examined, and the pairs that pass are a uniform sample of all that would pass. Limits apply to the pairs that pass the
    other conditions: at every ancestor at most `max_per_ancestor` pairs, chosen uniformly, are kept; then pairs are taken in
    random order as long as neither sequence occurs in `max_per_sequence` of them.
    """
    total = sampler.count(*band)
    examined = total
    rows = AlignedRows(family, tips, config.alphabet) if config.is_filtered else None
    if total <= LISTED_UP_TO or config.number is None:
        listed = Draw.joined([_passing(d, rows, config) for d in UniformPool(sampler, *band).chunks()])
    else:
        if config.max_per_ancestor is not None:
            ranks = sampler.capped_ranks(*band, config.max_per_ancestor * (20 if rows else 1), rng)
        else:
            wanted = 10 * config.number + 10 * sampler.n_tips * (config.max_per_sequence or 0)
            ranks = distinct_integers(total, min(total, max(_EXAMINED, wanted)), rng)
        examined = len(ranks)
        chunks = (ranks[k : k + CHUNK_ROWS] for k in range(0, examined, CHUNK_ROWS))
        listed = Draw.joined([_passing(Draw(*sampler.unrank(*band, part)), rows, config) for part in chunks])
        logger.debug(f"{family.label}: examined {examined:,} of the {total:,} pairs in the band, {len(listed):,} pass")
    listed = listed.part(rng.permutation(len(listed)))
    if config.max_per_ancestor is not None:
        listed = listed.part(_first_of_each(sampler.tree.ancestor(listed.i, listed.j), config.max_per_ancestor))
    if config.max_per_sequence is not None:
        listed = listed.part(_capped_per_sequence(listed, sampler.n_tips, config.max_per_sequence))
    estimate = None if config.is_capped or examined == total else round(len(listed) * total / examined)
    return ListedPool(listed, replace=config.replace, total=estimate)


def _passing(draw: Draw, rows: AlignedRows | None, config: SamplingConfig) -> Draw:
    if rows is None:
        return draw
    identity, coverage = rows.compare(draw.i, draw.j)
    passes = (identity >= config.min_identity) & (identity <= config.max_identity) & (coverage >= config.min_coverage)
    return draw.part(np.flatnonzero(passes))


def _first_of_each(group: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return the positions of the first `most` members of each group, in their order."""
    order = np.argsort(group, kind="stable")
    sorted_group = group[order]
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_group) != 0]) if len(group) else np.empty(0, dtype=np.int64)
    sizes = np.diff(np.r_[starts, len(group)])
    within = np.arange(len(group)) - np.repeat(starts, sizes)
    return np.sort(order[within < most])


def _capped_per_sequence(draw: Draw, n_tips: int, most: int) -> npt.NDArray[np.int64]:
    left = [most] * n_tips
    open_tips = n_tips
    kept: list[int] = []
    for place, (i, j) in enumerate(zip(draw.i.tolist(), draw.j.tolist(), strict=True)):
        if left[i] and left[j]:
            kept.append(place)
            for tip in (i, j):
                left[tip] -= 1
                open_tips -= left[tip] == 0
            if open_tips < 2:
                break
    return np.array(kept, dtype=np.int64)


def in_slices(pool: ListedPool, edges: list[Band]) -> Iterator[ListedPool]:
    """Yield the pairs of a listed pool by slices of distance."""
    fraction = pool.total / max(1, len(pool.listed))
    for lo, hi in edges:
        inside = np.flatnonzero((pool.listed.distance >= lo) & (pool.listed.distance <= hi))
        yield ListedPool(pool.listed.part(inside), replace=pool.replace, total=round(len(inside) * fraction))
