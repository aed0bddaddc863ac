"""Sequences and a database → the family of each sequence: itself and its homologs, aligned."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping
from collections.abc import Sequence as SequenceOf
from types import ModuleType
from typing import Any

from phylocli.config.homologs import HomologsConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats import Sequences, as_sequences, read_sequences, stockholm
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import STDIO
from phylocli.homologs.alignments import chosen, family_of
from phylocli.homologs.engines import mmseqs, phmmer

logger = logging.getLogger(__name__)

ENGINES: Mapping[str, ModuleType] = {"phmmer": phmmer, "mmseqs": mmseqs}


def find_homologs(
    sequences: Sequences | None,
    database: Sequences | None,
    config: HomologsConfig | None = None,
    **options: Any,
) -> Iterator[Family]:
    """Find homologs of sequences in a database; yield the family of each sequence, in input order.

    The name of a family is the id of its sequence, which is the first member; its residues are the match columns. The
    others are regions of sequences of the database, named `id/from-to`, best first. A sequence without homologs is a family
    of one. The database is in memory.

    Args:
        sequences: letters, `Sequence`s or (id, letters) pairs; or the path of a sequence file; `-`/None is standard input.
        database: proteins to search for homologs, likewise.
        config: options; may also be given as keywords.
        **options: fields of `HomologsConfig`.

    Raises:
        BadInputError: no sequences, or an empty database; a letter that is not a residue, an id that a Stockholm file cannot
            have, or a duplicate one; a file that cannot be read.
        MissingDependencyError: the engine is MMseqs2, and it is not installed.

    Examples:
        >>> database = phylocli.read_sequences("examples/globins.fasta")
        >>> query = [phylocli.Sequence("query", "MVLSPADKTNVKAAWGKVGAHAGEYGAEALERMFLSFPTTKTYFPHFDLSHGSAQVKGHG")]
        >>> (family,) = phylocli.find_homologs(query, database, number=5)
        >>> family.name, len(family)
        ('query', 6)
    """
    config = HomologsConfig.of(config, options)
    sequences = STDIO if sequences is None else sequences
    database = STDIO if database is None else database
    if isinstance(sequences, str) and sequences == STDIO == database:
        raise UsageError("standard input cannot be both the sequences and the database", fix="name a file for one of them")
    engine = ENGINES[config.engine]
    note = f"homologs {engine.describe(config)}, {counted(config.rounds, 'round')}, E ≤ {config.evalue:g}"
    known = list(_proteins(database, config, None, "give a database of proteins"))
    if not known:
        raise BadInputError("the database has no sequences", fix="give a file of proteins among which homologs may be")
    queries = _proteins(sequences, config, config.code, TRANSLATE)
    first = next(queries, None)
    if first is None:
        raise BadInputError("there are no sequences to find homologs of", fix="give at least one sequence")
    return _found(itertools.chain([first], queries), known, engine, config, note)


def _proteins(source: Sequences, config: HomologsConfig, genetic_code: int | None, otherwise: str) -> Iterator[Sequence]:
    """Yield the sequences of an input; `otherwise` is the fix in the warning about nucleotides."""
    if isinstance(source, str | os.PathLike):
        found = read_sequences(source, on_duplicate=config.on_duplicate, genetic_code=genetic_code)
    else:
        found = as_sequences(source, genetic_code=genetic_code)
    for sequence in NucleotideCheck("protein", otherwise).sequences(found):
        stockholm.check_id(sequence.id, sequence.where)
        yield sequence


def _found(
    queries: Iterator[Sequence],
    database: SequenceOf[Sequence],
    engine: ModuleType,
    config: HomologsConfig,
    note: str,
) -> Iterator[Family]:
    ahead: deque[Sequence] = deque()  # queries whose homologs are not yet known

    def batches() -> Iterator[list[str]]:
        while batch := list(itertools.islice(queries, engine.AT_ONCE)):
            ahead.extend(batch)
            yield [query.residues for query in batch]

    results = engine.search(batches(), [sequence.residues for sequence in database], config)
    total = alone = kept = 0
    for homologs in console.progress(results, "homologs", unit="sequences"):
        query = ahead.popleft()
        some = chosen(query.residues, homologs, number=config.number, coverage=config.coverage)
        names = [f"{database[h.target].id}/{h.start + 1}-{h.start + len(h.residues)}" for h in some]
        taken = {query.id}
        for place, name in enumerate(names):
            if name in taken:  # a query whose id is that of a region
                names[place] = f"{name}_{place + 1}"
            taken.add(names[place])
        family = family_of(query, some, names)
        family.notes.append(f"{note}, {len(some)} of {len(homologs)}")
        total, alone, kept = total + 1, alone + (not some), kept + len(some)
        yield family
    logger.info(f"{counted(total, 'sequence')} with {kept / max(total, 1):.1f} homologs on average; {alone:,} have none")
