"""Drawing homolog pairs of many families into tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from phylocli import console
from phylocli.alphabet import degap
from phylocli.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.pairs.laws import CHUNK_ROWS, Draw, Pool, UniformPool
from phylocli.pairs.sampler import EmptyBandError, PairSampler
from phylocli.pairs.shares import ByPairs, ByWeight, Equally, Shares

if TYPE_CHECKING:
    import polars as pl

WEIGHTINGS = ("uniform", "per-family")
NARROW = 1.15
"""Bands whose ends differ by less than this factor promise more than trees resolve: log distances scatter by about 13 %."""


@dataclass
class _Members:
    """What the table needs of a family, in the tree's order of tips."""

    label: str
    clan: str
    ids: list[str]
    sequences: list[str]

    @classmethod
    def of(cls, family: Family, tips: list[str]) -> _Members:
        row = dict(zip(family.ids, family.rows, strict=True))
        return cls(family.label, family.clan, tips, [degap(row[name]) for name in tips])


@dataclass
class _Held:
    members: _Members
    draw: Draw


@dataclass
class _Report:
    """What is said on stderr when all is drawn."""

    families: int = 0
    pairs: int = 0
    empty: list[str] = field(default_factory=list)
    last: EmptyBandError | None = None


def draw_pairs(
    families: Iterable[Family],
    *,
    min_dist: float = 0.0,
    max_dist: float = math.inf,
    n: int | None = None,
    seed: int = 0,
    weighting: str = "uniform",
    replace: bool = False,
) -> Iterator[pl.DataFrame]:
    """Draw pairs of members whose patristic distance lies in a band, ends included.

    Args:
        families: with trees; read once, one at a time.
        min_dist, max_dist: the band, expected substitutions per site.
        n: how many pairs in total over all families; None: every pair of the band, once.
        seed: same families and seed, same pairs.
        weighting: the law.
            `uniform`: every pair of every family in the band is equally likely, so large families give most.
            `per-family`: each family gives equally many (one with fewer gives all it has, the others make up for it);
            within a family every pair is equally likely.
        replace: whether a pair may be drawn again; needs n.

    Yields:
        Tables of `formats.tables.pairs_schema()`, of at most 100,000 rows and one family each, families in their order.

    Raises:
        UsageError: a band that ends before it starts, a law that does not exist, `replace` without n.
        EmptyBandError: no family has a pair in the band.
        BadInputError: a family without a tree, or whose tree does not fit its members.
    """
    _check(min_dist, max_dist, n, weighting, replace)
    report = _Report()
    pools = _pools(families, min_dist, max_dist, replace, report)
    if n is None:
        for members, pool in pools:
            for draw in pool.chunks():
                yield _frame(members, draw)
    else:
        yield from _shared_out(pools, n, seed, weighting, replace)
    _say(report, n, min_dist, max_dist, replace)


def _check(min_dist: float, max_dist: float, n: int | None, weighting: str, replace: bool) -> None:
    if math.isnan(min_dist) or math.isnan(max_dist) or min_dist < 0 or max_dist < min_dist:
        raise UsageError(
            f"there is no band from {min_dist:g} to {max_dist:g}",
            fix="give 0 ≤ --min-dist ≤ --max-dist, in substitutions per site",
        )
    if weighting not in WEIGHTINGS:
        raise UsageError(f"there is no weighting named {weighting!r}", fix=f"known: {', '.join(WEIGHTINGS)}")
    if n is not None and n < 1:
        raise UsageError(f"{n} pairs cannot be drawn", fix="give -n a number from 1")
    if replace and n is None:
        raise UsageError("drawing with replacement never ends by itself", fix="say how many pairs with -n")
    if min_dist > 0 and max_dist < NARROW * min_dist:
        console.warning(
            f"the band from {min_dist:g} to {max_dist:g} is narrower than inferred trees resolve: the distances of "
            "a good tree scatter by about 13 % around the true ones, so a band means little below a width of 15 %"
        )


def _pools(
    families: Iterable[Family], lo: float, hi: float, replace: bool, report: _Report
) -> Iterator[tuple[_Members, Pool]]:
    for family in families:
        report.families += 1
        if len(family) < 2:
            report.empty.append(family.label)
            report.last = EmptyBandError(f"{family.label} has one member; a pair needs two")
            continue
        tree = family.tree()
        try:
            sampler = PairSampler(tree)
        except BadInputError as error:
            raise BadInputError(f"{family.label}: {error.what}", error.why, error.fix) from error
        warn_of_lengths(family.label, sampler)
        pool = UniformPool(sampler, lo, hi, replace=replace)
        report.pairs += pool.total
        console.detail(f"{family.label}: {pool.total:,} of {sampler.n_pairs:,} pairs in the band")
        if pool.total == 0:
            report.empty.append(family.label)
            report.last = EmptyBandError(
                f"{family.label}: no two members lie {lo:g} to {hi:g} substitutions per site apart",
                why=sampler.describe(),
                fix="choose --min-dist and --max-dist within that range",
            )
            continue
        yield _Members.of(family, tree.tip_names()), pool


def warn_of_lengths(label: str, sampler: PairSampler) -> None:
    """Warn where a tree's branch lengths are not all usable as they stand."""
    for count, kind in ((sampler.tree.n_missing, "no length"), (sampler.tree.n_negative, "a negative length")):
        if count:
            console.warning(f"{label}: {count} branches of the tree have {kind}; they count as 0")


def _shared_out(
    pools: Iterator[tuple[_Members, Pool]], n: int, seed: int, weighting: str, replace: bool
) -> Iterator[pl.DataFrame]:
    shares: Shares
    if weighting == "per-family":
        shares = Equally(n, replace=replace)
    else:
        shares = ByWeight(n) if replace else ByPairs(n)
    rng = np.random.default_rng(seed)
    held: list[_Held] = []
    stored = 0
    for members, pool in pools:
        held.append(_Held(members, shares.add(pool, rng)))
        stored += len(held[-1].draw)
        if stored > 4 * n + 1000:
            stored = _trim(held, shares.sizes(rng).tolist())
    _trim(held, shares.sizes(rng, final=True).tolist())
    for one in held:
        for start in range(0, len(one.draw), CHUNK_ROWS):
            yield _frame(one.members, one.draw.part(slice(start, start + CHUNK_ROWS)))


def _trim(held: list[_Held], sizes: list[int]) -> int:
    for one, size in zip(held, sizes, strict=True):
        if size < len(one.draw):
            one.draw = one.draw.part(np.arange(size))
        if size == 0:
            one.members = _Members(one.members.label, one.members.clan, [], [])
    return sum(sizes)


def _frame(members: _Members, draw: Draw) -> pl.DataFrame:
    import polars as pl

    ids, sequences = pl.Series(members.ids, dtype=pl.String), pl.Series(members.sequences, dtype=pl.String)
    rows = len(draw)
    return pl.DataFrame(
        {
            "family": pl.repeat(members.label, rows, dtype=pl.String, eager=True),
            "clan": pl.repeat(members.clan, rows, dtype=pl.String, eager=True),
            "id_a": ids.gather(draw.i),
            "id_b": ids.gather(draw.j),
            "distance": draw.distance,
            "seq_a": sequences.gather(draw.i),
            "seq_b": sequences.gather(draw.j),
        }
    )


def _say(report: _Report, n: int | None, lo: float, hi: float, replace: bool) -> None:
    if report.pairs == 0:
        if report.families == 1 and report.last is not None:
            raise report.last
        raise EmptyBandError(
            f"none of {report.families} families has a pair from {lo:g} to {hi:g} substitutions per site apart",
            why=f"the last of them: {report.last.what}; {report.last.why}" if report.last else None,
            fix="choose a wider band; 'phylocli pairs --stats' shows what there is",
        )
    where = f" of {report.families} families" if report.families > 1 else ""
    console.info(f"{report.pairs:,} pairs{where} lie in the band from {lo:g} to {hi:g} substitutions per site")
    if report.empty:
        shown = ", ".join(report.empty[:3]) + (", …" if len(report.empty) > 3 else "")
        console.info(f"{len(report.empty)} families have no pair there ({shown})")
    if n is not None and not replace and report.pairs < n:
        console.info(f"that is fewer than the {n:,} asked for, so these are all of them (--replace would repeat some)")
