"""Sampling homolog pairs of many families into tables."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.config.pairs import SamplingConfig
from phylocli.core.alphabet import degap
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats.family import Family
from phylocli.formats.species import SpeciesRule
from phylocli.formats.tables.species import species_rule
from phylocli.formats.tree import Tree
from phylocli.pairs.allocation import Allocation, ByPairs, ByWeight, Proportional
from phylocli.pairs.bands import Band, bands_of, numbers_by_band, warn_if_narrow
from phylocli.pairs.filters import in_slices, limited_pool
from phylocli.pairs.patristic import Patristic
from phylocli.pairs.relations import RELATIONS, Relations
from phylocli.pairs.sampler import EmptyBandError, PairSampler
from phylocli.pairs.schemes import LogDistancePool, PerSequencePool, band_pool
from phylocli.pairs.types import CHUNK_ROWS, Draw, Pool

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)


def sample_pairs(families: Iterable[Family], config: SamplingConfig | None = None, **options: Any) -> pl.DataFrame:
    """Sample pairs of members whose patristic distance is in a band, ends included; see `iter_pairs` for large results.

    Args:
        families: with trees; read once, one at a time.
        config: options; its fields may also be given as keywords, such as `min_dist=0.5, number=1000`. With `number`, that
            many pairs in total over all families; without, every pair in the band, once. Sampling schemes:
            `uniform`: every pair in the band is equally likely, over all families, so large families contribute most.
            `per-family`: every family contributes equally many pairs (if one has fewer, the others make up for it); within a
            family every pair is equally likely.
            `per-sequence`: every sequence with a partner in the band is equally likely, then each of its partners. Without
            replacement, families contribute in proportion to such sequences (if one has fewer pairs, the others make up for
            it).
            `log-distance`: in each family, distances are spread evenly on a logarithmic scale (`LogDistancePool`).
        options: fields of `SamplingConfig`.

    Returns:
        A table of `formats.tables.pairs_schema()`, in the order of the families. The column `distance` is always in
        substitutions per site, regardless of the unit.

    Raises:
        UsageError: a band that ends before it starts, an unknown scheme, `replace` without `number`.
        EmptyBandError: no family has a pair in the band.
        BadInputError: a family without a tree, or whose tree does not fit its members.

    Examples:
        >>> rows = ["MKVLAAGIVG", "MKVLSAGIVG", "MRVLSAGLVG", "MRILSPGLVG"]
        >>> family = phylocli.Family(["a", "b", "c", "d"], rows, accession="PF1")
        >>> pairs = phylocli.sample_pairs(phylocli.infer_trees([family]), number=3, seed=0)
        >>> pairs.height
        3
    """
    import polars as pl

    return pl.concat(iter_pairs(families, config, **options))


def iter_pairs(families: Iterable[Family], config: SamplingConfig | None = None, **options: Any) -> Iterator[pl.DataFrame]:
    """Yield the table of `sample_pairs` in parts of at most 100,000 rows from one family, in bounded memory."""
    config = SamplingConfig.of(config, options)
    warn_if_narrow(config)
    sampler = StreamSampler(config)
    for family in families:
        yield from sampler.add(family)
    yield from sampler.finish()


@dataclass
class _Members:
    """The table columns of a family's members, in the tree's order of tips."""

    label: str
    clan: str
    ids: list[str]
    sequences: list[str]

    @classmethod
    def of(cls, family: Family, tips: list[str], used: npt.NDArray[np.bool_]) -> _Members:
        """Return the members that are used, with the others blank, so that memory is bounded by the number of pairs."""
        row = dict(zip(family.ids, family.rows, strict=True))
        ids = [name if use else "" for name, use in zip(tips, used.tolist(), strict=True)]
        return cls(family.label, family.clan, ids, [degap(row[name]) if name else "" for name in ids])


@dataclass
class _Counts:
    """Numbers for the final messages."""

    families: int = 0
    pairs: int = 0
    written: int = 0
    is_estimate: bool = False
    empty: list[str] = field(default_factory=list)
    last: EmptyBandError | None = None


class StreamSampler:
    """Takes families one by one and yields the pairs requested by a configuration; see `iter_pairs`.

    Without a number, the pairs of a family are yielded immediately; with one, all pairs are yielded by `finish`, because the
    number per family depends on the following families.

    Args:
        config: which pairs to sample.
        label: a prefix for messages, for example the part of a split.
    """

    def __init__(self, config: SamplingConfig, label: str = "") -> None:
        self.config = config
        self.label = label
        self.counts = _Counts()
        self._rng = np.random.default_rng(config.seed)
        self._allocations = [_allocation(config, n) for n in numbers_by_band(config) if n is not None]
        self._members: list[_Members] = []
        self._held: list[list[Draw]] = []  # per family, per band
        self._stored = 0
        self._species = species_rule(config.species, config.species_pattern)

    def add(self, family: Family, whole: Family | None = None) -> Iterator[pl.DataFrame]:
        """Add a family; yield its pairs if no number of pairs was requested.

        Args:
            family: with a tree.
            whole: the family of which `family` is a part; its tree determines orthologs and paralogs.
        """
        config, counts = self.config, self.counts
        counts.families += 1
        if len(family) < 2:
            self._note_empty(
                family.label,
                EmptyBandError(f"{family.label} has one member; a pair needs two", fix="add members, or remove the family"),
            )
            return
        try:
            sampler, tips, relations = related_sampler(family, config.relation, self._species, whole)
        except EmptyBandError as error:
            self._note_empty(family.label, error)
            return
        pools = [self._pool(family, tips, sampler, band) for band in bands_of(config, sampler)]
        total = sum(pool.total for pool in pools)
        counts.pairs += total
        counts.is_estimate |= any(getattr(pool, "is_sample", False) for pool in pools)
        logger.debug(f"{family.label}: {total:,} of {sampler.n_pairs:,} pairs {config.describe()}")
        if total == 0:
            reason = EmptyBandError(
                f"{family.label}: no pairs {config.describe()}",
                why=sampler.describe(),
                fix="choose a band within that range" + (", or weaker filters" if config.is_filtered else ""),
            )
            self._note_empty(family.label, reason)
            return
        used = np.ones(len(tips), dtype=bool)
        if config.number is None:
            members = _Members.of(family, tips, used)
            for pool in pools:
                for draw in pool.chunks():
                    yield self._frame(members, _related(draw, relations))
            return
        drawn = (allocation.add(pool, self._rng) for allocation, pool in zip(self._allocations, pools, strict=True))
        held = [_related(draw, relations) for draw in drawn]
        used[:] = False
        for draw in held:
            used[draw.i] = used[draw.j] = True
        self._members.append(_Members.of(family, tips, used))
        self._held.append(held)
        self._stored += sum(map(len, held))
        if self._stored > 4 * config.number + 1000:
            self._trim(final=False)

    def finish(self) -> Iterator[pl.DataFrame]:
        """Yield the remaining pairs, and log their number.

        Raises:
            EmptyBandError: no family had a pair in the band.
        """
        if self._members:
            self._trim(final=True)
        for members, held in zip(self._members, self._held, strict=True):
            for draw in held:
                for start in range(0, len(draw), CHUNK_ROWS):
                    yield self._frame(members, draw.part(slice(start, start + CHUNK_ROWS)))
        self._say()

    def _pool(self, family: Family, tips: list[str], sampler: PairSampler, band: Band) -> Pool:
        config, scheme = self.config, self.config.scheme
        if not (config.is_filtered or config.is_capped):
            return band_pool(sampler, band, scheme, replace=config.replace)
        listed = limited_pool(family, tips, sampler, band, config, self._rng)
        if scheme == "log-distance":
            return LogDistancePool(list(in_slices(listed, LogDistancePool.edges(*band, sampler.tree.diameter()))))
        if scheme == "per-sequence":
            return PerSequencePool(listed.listed, sampler.n_tips, replace=config.replace)
        return listed

    def _frame(self, members: _Members, draw: Draw) -> pl.DataFrame:
        """Return pairs as rows of the table, and count them."""
        import polars as pl

        assert draw.relation is not None
        ids, sequences = pl.Series(members.ids, dtype=pl.String), pl.Series(members.sequences, dtype=pl.String)
        rows = len(draw)
        self.counts.written += rows
        return pl.DataFrame(
            {
                "family": pl.repeat(members.label, rows, dtype=pl.String, eager=True),
                "clan": pl.repeat(members.clan, rows, dtype=pl.String, eager=True),
                "id_a": ids.gather(draw.i),
                "id_b": ids.gather(draw.j),
                "distance": draw.distance,
                "relation": pl.Series(RELATIONS, dtype=pl.String).gather(draw.relation),
                "seq_a": sequences.gather(draw.i),
                "seq_b": sequences.gather(draw.j),
            }
        )

    def _note_empty(self, label: str, reason: EmptyBandError) -> None:
        self.counts.empty.append(label)
        self.counts.last = reason

    def _trim(self, *, final: bool) -> None:
        self._stored = 0
        sizes = [allocation.sizes(self._rng, final=final).tolist() for allocation in self._allocations]
        for k, held in enumerate(self._held):
            for band, draw in enumerate(held):
                if sizes[band][k] < len(draw):
                    held[band] = draw.part(np.arange(sizes[band][k]))  # indexing copies, so the rest is freed
            left = sum(map(len, held))
            self._stored += left
            if left == 0:
                self._members[k] = _Members(self._members[k].label, self._members[k].clan, [], [])

    def _say(self) -> None:
        counts, config = self.counts, self.config
        where = f"{self.label}: " if self.label else ""
        if counts.families == 0:
            raise EmptyBandError(f"{where}no families to sample pairs from", fix="give families with trees")
        if counts.pairs == 0:
            if counts.families == 1 and counts.last is not None:
                raise counts.last
            raise EmptyBandError(
                f"{where}No pairs {config.describe()} in any of {counts.families} families",
                why=f"for example {counts.last.what}; {counts.last.why}" if counts.last else None,
                fix=counts.last.fix
                if counts.last and config.relation != "any"
                else "choose a wider band; --stats shows the distances",
            )
        some = f"{counts.families - len(counts.empty)} of " if counts.empty else ""
        families = f" in {some}{counts.families} families" if counts.families > 1 else ""
        about = "about " if counts.is_estimate else ""
        logger.info(f"{where}Found {about}{counted(counts.pairs, 'pair')}{families} {config.describe()}")
        if counts.empty:
            shown = ", ".join(counts.empty[:3]) + (", …" if len(counts.empty) > 3 else "")
            who = "one family has" if len(counts.empty) == 1 else f"{len(counts.empty)} families have"
            logger.info(f"{where}{who} no such pairs ({shown})")
        if config.number is not None and counts.written < config.number:
            if counts.written == counts.pairs:
                rest = "" if config.is_capped else "; use --replace to sample with replacement"
                shortage = f"but only {counts.written:,} exist in this range{rest}"
            else:
                shortage = f"but sampled {counts.written:,}: some bands or families have too few"
            logger.info(f"{where}Requested {counted(config.number, 'pair')} {shortage}")


def sampler_of(label: str, tree: Tree) -> PairSampler:
    """Return the sampler of a family's tree; errors name the family.

    Raises:
        BadInputError: only one tip, or no branch lengths.
    """
    return PairSampler(_prepared(label, tree))


def _prepared(label: str, tree: Tree) -> Patristic:
    try:
        prepared = Patristic(tree)
    except BadInputError as error:
        raise BadInputError(f"{label}: {error.what}", error.why, error.fix) from error
    for count, kind in ((prepared.n_missing, "no length"), (prepared.n_negative, "a negative length")):
        if count:
            logger.warning(f"{label}: {count} branches of the tree have {kind}; they count as 0")
    return prepared


def related_sampler(
    family: Family, relation: str, species: SpeciesRule, whole: Family | None = None
) -> tuple[PairSampler, list[str], Relations]:
    """Return the sampler of a family's pairs with one relation, the names of its tips, and the relations of any two of them.

    Args:
        family: with a tree.
        relation: `any`, `orthologs` or `paralogs`. With the latter two, the sampler contains only tips with a known species.
        species: maps an id to its species.
        whole: the family of which `family` is a part, whose tree determines events; None: `family` is complete.

    Raises:
        EmptyBandError: fewer than two members with a known species, if the relation requires species.
        BadInputError: no tree, or no branch lengths.
    """
    full = (whole or family).require_tree()
    full_tips = full.tip_names()
    known = [species(name) for name in full_tips]
    ids = set(family.ids)
    wanted = [k for k, name in enumerate(full_tips) if name in ids and (known[k] or relation == "any")]
    if len(wanted) < 2 <= len(family):
        raise EmptyBandError(
            f"{family.label}: fewer than two members have a known species",
            why=f"{relation} are determined by species, which UniProt ids contain, as in HBA_HUMAN/7-107",
            fix="give --species TABLE or --species-pattern REGEX",
        )
    tips = [full_tips[k] for k in wanted]
    tree = family.require_tree()
    prepared = _prepared(family.label, tree if len(tips) == len(family) else tree.prune(tips))
    if len(tips) == len(full_tips):
        relations = Relations.of(prepared, known)
    else:
        relations = Relations.of(Patristic(full), known).restricted(prepared, np.array(wanted, dtype=np.int64))
    meeting = None if relation == "any" else relations.meeting(relation)
    return PairSampler(prepared, meeting=meeting), tips, relations


def _related(draw: Draw, relations: Relations) -> Draw:
    return replace(draw, relation=relations.codes(draw.i, draw.j))


def _allocation(config: SamplingConfig, n: int) -> Allocation:
    if config.scheme == "per-family":
        return Proportional(n, equal=True, replace=config.replace)
    if config.replace:
        return ByWeight(n)
    return Proportional(n, equal=False) if config.scheme == "per-sequence" else ByPairs(n)
