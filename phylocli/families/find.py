"""Homologous families from unlabelled sequences: aligned records as in `fetch`, and the table of members."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, count, islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from phylocli.config.families import FamiliesConfig
from phylocli.core import alphabet
from phylocli.core.errors import BadInputError
from phylocli.core.plugins import FAMILY_ENGINES
from phylocli.core.threads import available_cores
from phylocli.core.words import counted
from phylocli.families.pool import Pool
from phylocli.families.residue_assignment import Group
from phylocli.families.searching import Region, Settings
from phylocli.formats.family import GROUP_TAG, Family
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck
from phylocli.formats.sequences.fasta import Sequence
from phylocli.hmmer import align_to

if TYPE_CHECKING:
    import polars as pl
    from pyhmmer.plan7 import HMM

logger = logging.getLogger(__name__)

_RECORDS_AT_ONCE = 32


@dataclass(frozen=True)
class Member:
    """A member of a family: a sequence, or a region of one.

    Attributes:
        id: id of the sequence in the input.
        region: the region of the sequence.
        score: score in bits; NaN if the member was not found by a search.
        evalue: HMMER's independent E-value; NaN if the member was not found by a search.
        group: id of the representative of its group of close homologs; None if the engine makes no groups.
    """

    id: str
    region: Region
    score: float
    evalue: float
    group: str | None = None


@dataclass(frozen=True)
class _Draft:
    """A family before its alignment."""

    accession: str
    members: list[Member]
    profile: HMM | None


class Families:
    """The families of a set of sequences; iterating yields their aligned records, and `members` returns them as a table.

    Families are sorted by decreasing size, then by the id of their first member; members are sorted by id. Use it as a
    context manager, or call `close`, to release its threads.
    """

    def __init__(self, pool: Pool, drafts: list[_Draft], note: str, executor: Executor) -> None:
        self._pool = pool
        self._drafts = drafts
        self._note = note
        self._executor = executor
        self._ids = {name for ids in pool.ids for name in ids}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Shut down the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._drafts)

    def summary(self) -> str:
        """Return a one-sentence summary: number and size of families, and number of sequences in and outside them."""
        grouped = {m.id for draft in self._drafts for m in draft.members}
        total = sum(map(len, self._pool.ids))
        largest = len(self._drafts[0].members) if self._drafts else 0
        return (
            f"{counted(len(self), 'family')}, the largest with {largest} members; "
            f"{len(grouped)} of {total} sequences are in at least one family, {total - len(grouped)} in none"
        )

    def __iter__(self) -> Iterator[Family]:
        drafts = iter(self._drafts)
        while batch := list(islice(drafts, _RECORDS_AT_ONCE)):
            yield from self._executor.map(self._record, batch)

    def _record(self, draft: _Draft) -> Family:
        pool = self._pool
        texts = [pool.residues[m.region.sequence][m.region.start - 1 : m.region.end] for m in draft.members]
        if draft.profile is None:  # copies of one sequence
            rows, reference = texts, "x" * len(texts[0])
        else:
            rows, reference = align_to(draft.profile, texts, threads=1)
        sequences = len({member.id for member in draft.members})
        names = [self.name(member) for member in draft.members]
        groups = {name: [(GROUP_TAG, m.group)] for name, m in zip(names, draft.members, strict=True) if m.group is not None}
        return Family(
            names,
            rows,
            accession=draft.accession,
            name=draft.accession,
            description=f"{len(rows)} members in {sequences} sequences",
            sequence_features=groups,
            column_features={"RF": reference},
            notes=[f"families {self._note}"],
        )

    def name(self, member: Member) -> str:
        """Return the name of a member in a record: the id of a whole sequence, or `id/from-to` for a region, as in Pfam.

        If a sequence of the input already has that name, `.2`, `.3`, … is appended.
        """
        region = member.region
        if region.length == self._pool.lengths[region.sequence]:
            return member.id
        name = f"{member.id}/{region.start}-{region.end}"
        return next(free for free in chain([name], (f"{name}.{n}" for n in count(2))) if free not in self._ids)

    def members(self, *, singletons: bool = True) -> pl.DataFrame:
        """Return the table of members, with the columns of `tables.members_schema()`, sorted by id and position.

        Args:
            singletons: whether to include sequences that are in no family, with null in the columns of the family.
        """
        import polars as pl

        rows: list[tuple[str, int, int, str | None, float, float, str | None, str | None]] = [
            (m.id, m.region.start, m.region.end, draft.accession, m.score, m.evalue, self.name(m), m.group)
            for draft in self._drafts
            for m in draft.members
        ]
        if singletons:
            had = {m.region.sequence for draft in self._drafts for m in draft.members}
            for index, ids in enumerate(self._pool.ids):
                if index not in had:
                    length = int(self._pool.lengths[index])
                    rows += [(name, 1, length, None, math.nan, math.nan, None, None) for name in ids]
        schema = {"id": pl.String, "from": pl.Int32, "to": pl.Int32, "family": pl.String, "score": pl.Float64}
        schema |= {"evalue": pl.Float64, "name": pl.String, "group": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row").fill_nan(None).sort("id", "from", "to")


def find_families(sequences: Iterable[Sequence], config: FamiliesConfig | None = None, **options: Any) -> Families:
    """Group unlabelled sequences into homologous families.

    The result does not depend on the order of the sequences or the number of threads.

    Args:
        sequences: unaligned sequences with unique ids.
        config: the configuration; None uses the defaults.
        options: fields of `FamiliesConfig` that override the configuration, such as `min_size=10`.

    Raises:
        UsageError: a value is out of range, or the engine does not exist.
        BadInputError: an id occurs twice, or a sequence is longer than 100,000 residues.
        MissingDependencyError: the engine `mmseqs` is used without MMseqs2 being installed.
    """
    config = FamiliesConfig.of(config, options)
    settings = Settings(
        evalue=config.evalue,
        coverage=config.coverage,
        min_length=config.min_length,
        min_size=config.min_size,
        threads=config.threads or available_cores(),
    )
    method = FAMILY_ENGINES.load(config.engine)
    description = method.describe()
    pool = Pool(NucleotideCheck(fix=TRANSLATE).sequences(sequences))
    repeated = [name for ids in pool.ids for name in ids]
    if len(set(repeated)) < len(repeated):
        raise BadInputError("an id occurs more than once", fix="make the ids unique, because they name the members")
    logger.debug(f"{len(repeated)} sequences, {len(pool)} distinct, {int(pool.offsets[-1])} residues")
    executor = ThreadPoolExecutor(settings.threads)
    try:
        groups = method.group(pool, settings, executor)
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    note = f"{description}, evalue {config.evalue:g}, coverage {config.coverage:g}, {len(pool)} different sequences searched"
    return Families(pool, _drafts(pool, groups, config.min_size, config.prefix), note, executor)


def _drafts(pool: Pool, groups: list[Group], min_size: int, prefix: str) -> list[_Draft]:
    """Return the named families, largest first, with all copies of identical sequences as members.

    Identical sequences that are in no group form a family of their own.
    """
    found: list[tuple[list[Member], HMM | None]] = []
    for group in groups:
        near = {member: pool.ids[representative][0] for member, representative in group.groups.items()}
        members = [
            Member(name, hit.region, hit.score, hit.evalue, near.get(hit.region.sequence))
            for hit in group.members
            for name in pool.ids[hit.region.sequence]
        ]
        found.append((members, group.profile))
    had = {hit.region.sequence for group in groups for hit in group.members}
    for index, ids in enumerate(pool.ids):
        # Identical sequences are homologous by definition, unless all residues are unknown.
        if index not in had and len(ids) >= min_size and set(pool.residues[index]) & set(alphabet.AMINO_ACIDS):
            region = Region(index, 1, int(pool.lengths[index]))
            found.append(([Member(name, region, math.nan, math.nan) for name in ids], None))
    found = [(sorted(members, key=_position), profile) for members, profile in found if len(members) >= min_size]
    found.sort(key=lambda item: (-len(item[0]), *_position(item[0][0])))
    return [_Draft(f"{prefix}{number:05d}", members, profile) for number, (members, profile) in enumerate(found, start=1)]


def _position(member: Member) -> tuple[str, int]:
    return member.id, member.region.start
