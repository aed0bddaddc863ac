"""Alignment of families: checks before and after the engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from phylocli.align.settings import Settings
from phylocli.align.trim import Trim, drop_uncovered, parse_trim, trim_columns
from phylocli.config.align import AlignConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.core.plugins import ALIGNERS
from phylocli.core.protocols import AlignerPlugin
from phylocli.core.threads import available_cores
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
    engine = ALIGNERS.load(config.engine)
    rule = parse_trim(config.trim)
    settings = Settings(config.hmm, config.seed_alignment, store, config.threads or available_cores())
    return _align_each(families, config, engine, rule, settings, failures)


def _align_each(
    families: Iterable[Family],
    config: AlignConfig,
    engine: AlignerPlugin,
    rule: Trim,
    settings: Settings,
    failures: Failures | None,
) -> Iterator[Family]:
    start, members = time.monotonic(), 0
    for family in console.progress(NucleotideCheck(fix=TRANSLATE).families(families), "alignments", unit="families"):
        members += len(family)
        logger.debug(f"{family.label}: aligning {len(family)} sequences, engine {config.engine}")
        try:
            aligned = _aligned(engine, family, config.engine, settings)
            kept = trim_columns(drop_uncovered(aligned, config.min_coverage), rule)
        except BadInputError as error:
            if failures is None:
                raise
            failures.add(family.label, error)
            continue
        if failures is not None:
            failures.done += 1
        yield kept
    seconds = time.monotonic() - start
    logger.debug(f"aligned {members:,} sequences in {seconds:.1f} s, {members / max(seconds, 1e-9):,.0f} a second")


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
