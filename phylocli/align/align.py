"""Alignment of families: checks before and after the engine."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from phylocli.align.settings import Settings
from phylocli.align.trim import drop_uncovered, parse_trim, trim_columns
from phylocli.config.align import AlignConfig
from phylocli.core.errors import PhylocliError
from phylocli.core.plugins import ALIGNERS
from phylocli.core.protocols import AlignerPlugin
from phylocli.executors import Work, run_pieces
from phylocli.executors.families import FamilyJournal
from phylocli.formats.failures import Failures
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import TRANSLATE, NucleotideCheck
from phylocli.formats.streams import PathLike

logger = logging.getLogger(__name__)


def align_families(
    families: Iterable[Family],
    config: AlignConfig | None = None,
    *,
    store: PathLike | None = None,
    failures: Failures | None = None,
    journal: FamilyJournal | None = None,
    **options: Any,
) -> Iterator[Family]:
    """Yield each family aligned, in input order; names and their order are unchanged.

    Match columns are upper case and `-`, insert columns lower case and `.`, and `#=GC RF` marks match columns.

    Args:
        families: aligned or not.
        config: options; its fields may also be given as keywords, such as `engine="famsa"`.
        store: folder of the store, whose profiles are used by the engine `profile` if neither `hmm` nor `seed_alignment` is
            given; None: profiles are built from the records' own alignments.
        failures: collects families that fail; None raises the first failure.
        journal: results of an interrupted run.
        options: fields of `AlignConfig`.

    Raises:
        UsageError: an unknown engine or trimming.
        BadInputError: a family that cannot be aligned by this engine.
        MissingDependencyError: the engine's library is not installed.

    Examples:
        >>> families = phylocli.read_families("examples/families.sto")
        >>> family = next(phylocli.align_families(families, engine="none"))
        >>> len({len(row) for row in family.rows})
        1
    """
    config = AlignConfig.of(config, options)
    ALIGNERS.load(config.engine)
    parse_trim(config.trim)
    settings = Settings(config.hmm, config.seed_alignment, store, config.threads or config.threads_each)
    return _align_each(families, config, settings, failures, journal)


def _align_each(
    families: Iterable[Family],
    config: AlignConfig,
    settings: Settings,
    failures: Failures | None,
    journal: FamilyJournal | None,
) -> Iterator[Family]:
    start, members = time.monotonic(), 0
    work: Work[Family, Family] = Work(functools.partial(_align_one, config, settings))
    pieces = ((family.label, family) for family in NucleotideCheck(fix=TRANSLATE).families(families))
    results = run_pieces(work, pieces, jobs=config.jobs, cluster=config.cluster, journal=journal, title="alignments")
    for label, result in results:
        if isinstance(result, PhylocliError):
            if failures is None:
                raise result
            failures.add(label, result)
            continue
        if failures is not None:
            failures.done += 1
        members += len(result)
        yield result
    seconds = time.monotonic() - start
    logger.debug(f"aligned {members:,} sequences in {seconds:.1f} s, {members / max(seconds, 1e-9):,.0f} a second")


def _align_one(config: AlignConfig, settings: Settings, family: Family) -> Family:
    """Return a family aligned and trimmed."""
    logger.debug(f"{family.label}: aligning {len(family)} sequences, engine {config.engine}")
    aligned = _aligned(ALIGNERS.load(config.engine), family, config.engine, settings)
    return trim_columns(drop_uncovered(aligned, config.min_coverage), parse_trim(config.trim))


def _aligned(engine: AlignerPlugin, family: Family, name: str, settings: Settings) -> Family:
    """Return a family aligned by the engine."""
    rows, reference, description = engine.align(family, settings)
    bare = family.with_tree(None)
    aligned = replace(
        bare,
        rows=rows,
        aligned=True,
        notes=[*(note for note in bare.notes if not note.startswith("align ")), f"align {description}"],
        residue_features={} if rows != family.rows else family.residue_features,
        column_features={"RF": reference} if reference else {},
    )
    if name == "none":  # columns are unchanged, so their annotation is kept
        aligned = replace(aligned, column_features=family.column_features)
    return aligned
