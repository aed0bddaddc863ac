"""From families to aligned families: what every method needs before and after it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from phylocli.align.engines._settings import Settings
from phylocli.align.trim import drop_uncovered, parse_trim, trim_columns
from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.core.plugins import ALIGNERS
from phylocli.core.protocols import AlignerPlugin
from phylocli.core.threads import available_cores
from phylocli.formats.failures import Failures
from phylocli.formats.family import Family
from phylocli.formats.nucleotides import NucleotideCheck
from phylocli.formats.streams import PathLike


def align_families(
    families: Iterable[Family],
    *,
    method: str = "profile",
    hmm: PathLike | None = None,
    seed_alignment: PathLike | None = None,
    store: PathLike | None = None,
    trim: str = "none",
    threads: int = 0,
    min_coverage: float = 0.0,
    failures: Failures | None = None,
) -> Iterator[Family]:
    """Yield each family aligned, in the order of the input; names and their order are kept exactly.

    Match columns are upper case and `-`, insert columns lower case and `.`, and `#=GC RF` marks match columns.

    Args:
        families: aligned or not.
        method: `profile` (to the family's HMM), `famsa` (de novo), `none` (aligned already).
        hmm: file of HMMs for `profile`, else …
        seed_alignment: … file of alignments to build them from, else the store's profile, else the record's own alignment.
        store: the store's folder, whose profiles may serve; None looks nowhere.
        trim: `none`, `match` (match columns only) or `gappy=X` (columns with a larger share of gaps are dropped).
        threads: CPU threads; 0 takes all.
        min_coverage: members with residues in a smaller fraction of the match columns are left out, with a warning.
        failures: collects families that fail; None raises the first failure.

    Raises:
        UsageError: a method or trimming that does not exist.
        BadInputError: a family that cannot be aligned by this method.
        MissingDependencyError: the method's library is not installed.
    """
    engine = ALIGNERS.load(method)
    rule = parse_trim(trim)
    settings = Settings(hmm=hmm, seed_alignment=seed_alignment, store=store, threads=threads or available_cores())
    start, members = time.monotonic(), 0
    for family in console.progress(NucleotideCheck().families(families), "alignments", unit="families"):
        members += len(family)
        console.detail(f"{family.label}: aligning {len(family)} sequences, method {method}")
        try:
            aligned = trim_columns(drop_uncovered(_aligned(engine, family, method, settings), min_coverage), rule)
        except BadInputError as error:
            if failures is None:
                raise
            failures.add(family.label, error)
            continue
        if failures is not None:
            failures.done += 1
        yield aligned
    seconds = time.monotonic() - start
    console.detail(f"aligned {members:,} sequences in {seconds:.1f} s, {members / max(seconds, 1e-9):,.0f} a second")


def _aligned(engine: AlignerPlugin, family: Family, method: str, settings: Settings) -> Family:
    """Return a family as the engine aligns it."""
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
    if method == "none":  # columns are as they were, so what is said of them stays
        aligned = replace(aligned, column_features=family.column_features)
    return aligned
