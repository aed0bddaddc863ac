"""Drawing homolog pairs of many families into tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.pairs.allocation import ByPairs, ByWeight, Proportional, Shares
from phylocli.pairs.filters import in_slices, limited_pool
from phylocli.pairs.request import Band, Request
from phylocli.pairs.sampler import EmptyBandError, PairSampler
from phylocli.pairs.schemes import LogDistancePool, PerSequencePool, band_pool
from phylocli.pairs.types import CHUNK_ROWS, Draw, Pool

if TYPE_CHECKING:
    import polars as pl


def draw_pairs(
    families: Iterable[Family],
    *,
    min_dist: float = 0.0,
    max_dist: float = math.inf,
    n: int | None = None,
    seed: int = 0,
    weighting: str = "uniform",
    replace: bool = False,
    bins: tuple[Band, ...] | None = None,
    quantiles: Band | None = None,
    unit: str = "substitutions",
    max_per_sequence: int | None = None,
    max_per_ancestor: int | None = None,
    min_identity: float = 0.0,
    max_identity: float = 1.0,
    min_coverage: float = 0.0,
    alphabet: str = "protein",
) -> Iterator[pl.DataFrame]:
    """Draw pairs of members whose patristic distance lies in a band, ends included.

    Args:
        families: with trees; read once, one at a time.
        min_dist, max_dist: the band, in `unit`.
        n: how many pairs in total over all families; None: every pair of the band, once.
        seed: same families and seed, same pairs.
        weighting: the law.
            `uniform`: every pair of every family in the band is equally likely, so large families give most.
            `per-family`: every family gives equally many (one with fewer gives all it has, the others make up for it);
            within it every pair is equally likely.
            `per-sequence`: every sequence that has a partner in the band is equally likely, then each of its partners.
            Without replacement, families give in proportion to such sequences (one with fewer pairs gives all it has, the
            others make up for it).
            `log-distance`: in each family, the distances are spread evenly on a logarithmic scale (`LogDistancePool`).
        replace: whether a pair may be drawn again; needs n.
        bins: bands that give equally many pairs each, in place of min_dist and max_dist.
        quantiles: (a, b) narrows the band to what lies between these quantiles of each family's own distances.
        unit: `substitutions` per site, or `relative`: 1 is the median of all pair distances of the family.
        max_per_sequence: the most pairs that a sequence may take part in, in each band.
        max_per_ancestor: the most pairs that may meet at one node of the tree, in each band.
        min_identity, max_identity, min_coverage: limits on the aligned rows, 0 to 1; see `limits.AlignedRows.compare`.
        alphabet: `protein` or `dna`: what the rows are compared as.

    Yields:
        Tables of `formats.tables.pairs_schema()`, of at most 100,000 rows and one family each, families in their order. The
        column `distance` is in substitutions per site whatever the unit.

    Raises:
        UsageError: a band that ends before it starts, a law that does not exist, `replace` without n.
        EmptyBandError: no family has a pair in the band.
        BadInputError: a family without a tree, or whose tree does not fit its members.
    """
    request = Request(
        min_dist,
        max_dist,
        n,
        seed,
        weighting,
        replace,
        bins,
        quantiles,
        unit,
        max_per_sequence,
        max_per_ancestor,
        min_identity,
        max_identity,
        min_coverage,
        alphabet,
    )
    request.warn_if_narrow()
    drawer = Drawer(request)
    for family in families:
        yield from drawer.add(family)
    yield from drawer.finish()


@dataclass
class _Members:
    """What the table needs of a family, in the tree's order of tips."""

    label: str
    clan: str
    ids: list[str]
    sequences: list[str]

    @classmethod
    def of(cls, family: Family, tips: list[str], used: npt.NDArray[np.bool_]) -> _Members:
        """Return the members that are used, the others left blank, so that what is held is bounded by the pairs drawn."""
        row = dict(zip(family.ids, family.rows, strict=True))
        ids = [name if use else "" for name, use in zip(tips, used.tolist(), strict=True)]
        return cls(family.label, family.clan, ids, [degap(row[name]) if name else "" for name in ids])


@dataclass
class _Counts:
    """What is said on stderr when all is drawn."""

    families: int = 0
    pairs: int = 0
    written: int = 0
    is_estimate: bool = False
    empty: list[str] = field(default_factory=list)
    last: EmptyBandError | None = None


class Drawer:
    """Takes families one by one and gives the pairs that a request asks for; see `draw_pairs`.

    Without a number, a family's pairs come at once; with one, all come from `finish`, as how many a family gives depends on
    those still to come.

    Args:
        request: what is asked for.
        label: how messages call what is drawn, for example a part of a split.
    """

    def __init__(self, request: Request, label: str = "") -> None:
        self.request = request
        self.label = label
        self.counts = _Counts()
        self._rng = np.random.default_rng(request.seed)
        self._shares = [_shares(request, n) for n in request.shares if n is not None]
        self._members: list[_Members] = []
        self._held: list[list[Draw]] = []  # per family, per band
        self._stored = 0

    def add(self, family: Family) -> Iterator[pl.DataFrame]:
        """Take a family in; yield its pairs where no number of pairs was asked for."""
        request, counts = self.request, self.counts
        counts.families += 1
        if len(family) < 2:
            self._note_empty(family.label, EmptyBandError(f"{family.label} has one member; a pair needs two"))
            return
        tree = family.tree()
        tips = tree.tip_names()
        sampler = sampler_of(family.label, tree)
        pools = [self._pool(family, tips, sampler, band) for band in request.bands(sampler)]
        total = sum(pool.total for pool in pools)
        counts.pairs += total
        counts.is_estimate |= any(getattr(pool, "is_sample", False) for pool in pools)
        console.detail(f"{family.label}: {total:,} of {sampler.n_pairs:,} pairs {request.describe()}")
        if total == 0:
            reason = EmptyBandError(
                f"{family.label}: no two members lie {request.describe()}",
                why=sampler.describe(),
                fix="choose a band within that range" + (", or wider limits" if request.is_filtered else ""),
            )
            self._note_empty(family.label, reason)
            return
        used = np.ones(len(tips), dtype=bool)
        if request.n is None:
            members = _Members.of(family, tips, used)
            for pool in pools:
                for draw in pool.chunks():
                    counts.written += len(draw)
                    yield _frame(members, draw)
            return
        held = [shares.add(pool, self._rng) for shares, pool in zip(self._shares, pools, strict=True)]
        used[:] = False
        for draw in held:
            used[draw.i] = used[draw.j] = True
        self._members.append(_Members.of(family, tips, used))
        self._held.append(held)
        self._stored += sum(map(len, held))
        if self._stored > 4 * request.n + 1000:
            self._trim(final=False)

    def finish(self) -> Iterator[pl.DataFrame]:
        """Yield the pairs that are left to give, and say how many there were.

        Raises:
            EmptyBandError: no family had a pair in the band.
        """
        if self._members:
            self._trim(final=True)
        for members, held in zip(self._members, self._held, strict=True):
            for draw in held:
                self.counts.written += len(draw)
                for start in range(0, len(draw), CHUNK_ROWS):
                    yield _frame(members, draw.part(slice(start, start + CHUNK_ROWS)))
        self._say()

    def _pool(self, family: Family, tips: list[str], sampler: PairSampler, band: Band) -> Pool:
        request, law = self.request, self.request.weighting
        if not (request.is_filtered or request.is_capped):
            return band_pool(sampler, band, law, replace=request.replace)
        listed = limited_pool(family, tips, sampler, band, request, self._rng)
        if law == "log-distance":
            return LogDistancePool(list(in_slices(listed, LogDistancePool.edges(*band, sampler.tree.diameter()))))
        if law == "per-sequence":
            return PerSequencePool(listed.listed, sampler.n_tips, replace=request.replace)
        return listed

    def _note_empty(self, label: str, reason: EmptyBandError) -> None:
        self.counts.empty.append(label)
        self.counts.last = reason

    def _trim(self, *, final: bool) -> None:
        self._stored = 0
        sizes = [shares.sizes(self._rng, final=final).tolist() for shares in self._shares]
        for k, held in enumerate(self._held):
            for band, draw in enumerate(held):
                if sizes[band][k] < len(draw):
                    held[band] = draw.part(np.arange(sizes[band][k]))  # an index copies, so the rest is let go
            left = sum(map(len, held))
            self._stored += left
            if left == 0:
                self._members[k] = _Members(self._members[k].label, self._members[k].clan, [], [])

    def _say(self) -> None:
        counts, request = self.counts, self.request
        where = f"{self.label}: " if self.label else ""
        if counts.families == 0:
            raise EmptyBandError(f"{where}there is no family to draw pairs from")
        if counts.pairs == 0:
            if counts.families == 1 and counts.last is not None:
                raise counts.last
            raise EmptyBandError(
                f"{where}none of {counts.families} families has a pair {request.describe()}",
                why=f"of the last one: {counts.last.what}; {counts.last.why}" if counts.last else None,
                fix="choose a wider band; --stats shows what there is",
            )
        families = f" of {counts.families} families" if counts.families > 1 else ""
        about = "about " if counts.is_estimate else ""
        console.info(f"{where}{about}{counts.pairs:,} pairs{families} lie {request.describe()}")
        if counts.empty:
            shown = ", ".join(counts.empty[:3]) + (", …" if len(counts.empty) > 3 else "")
            who = "one family has" if len(counts.empty) == 1 else f"{len(counts.empty)} families have"
            console.info(f"{where}{who} no pair there ({shown})")
        if request.n is not None and counts.written < request.n:
            if counts.written == counts.pairs:
                rest = "these are all there are" + ("" if request.is_capped else "; --replace would repeat some")
            else:
                rest = "some bands or families hold fewer than their share"
            console.info(f"{where}{counts.written:,} pairs instead of {request.n:,}: {rest}")


def sampler_of(label: str, tree: Any) -> PairSampler:
    """Return the sampler of a family's tree, with the family named in what goes wrong.

    Raises:
        BadInputError: one tip only, or no branch lengths.
    """
    try:
        sampler = PairSampler(tree)
    except BadInputError as error:
        raise BadInputError(f"{label}: {error.what}", error.why, error.fix) from error
    for count, kind in ((sampler.tree.n_missing, "no length"), (sampler.tree.n_negative, "a negative length")):
        if count:
            console.warning(f"{label}: {count} branches of the tree have {kind}; they count as 0")
    return sampler


def _shares(request: Request, n: int) -> Shares:
    if request.weighting == "per-family":
        return Proportional(n, equal=True, replace=request.replace)
    if request.replace:
        return ByWeight(n)
    return Proportional(n, equal=False) if request.weighting == "per-sequence" else ByPairs(n)


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
