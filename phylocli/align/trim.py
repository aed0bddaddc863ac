"""Trimming of columns, removal of fragments, and the residues that remain in a trimmed row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import GAPS
from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.family import Family
from phylocli.formats.sequences.fasta import shorten

logger = logging.getLogger(__name__)

KEPT_TAG = "KR"
"""`#=GS <id> KR 3-20,22-150`: the residues of a trimmed row, counted from 1 in the untrimmed sequence."""


@dataclass(frozen=True)
class Trim:
    """The columns to keep.

    Attributes:
        match: match columns only.
        max_gaps: maximum fraction of gaps in a column.
    """

    match: bool = False
    max_gaps: float = 1.0


def parse_trim(text: str) -> Trim:
    """Return the rule described by `none`, `match` or `gappy=0.9`.

    Raises:
        UsageError: not one of these.
    """
    if text == "none":
        return Trim()
    if text == "match":
        return Trim(match=True)
    name, _, value = text.partition("=")
    try:
        fraction = float(value)
    except ValueError:
        fraction = -1.0
    if name != "gappy" or not 0 <= fraction <= 1:
        raise UsageError(f"unknown trimming {text!r}", fix="known: none, match, gappy=X with X from 0 to 1")
    return Trim(max_gaps=fraction)


def _gaps(rows: Sequence[str]) -> npt.NDArray[np.bool_]:
    letters = np.frombuffer("".join(rows).encode("ascii", "replace"), dtype=np.uint8).reshape(len(rows), -1)
    return np.isin(letters, [ord(c) for c in GAPS])


def trim_columns(family: Family, rule: Trim) -> Family:
    """Return an aligned family with only the columns that the rule keeps, and a record of the remaining residues.

    If columns with residues are removed, `#=GS <id> KR` lists the remaining residues of each row, as ranges counted from 1
    in the sequence before trimming.

    Raises:
        BadInputError: no column is left.
    """
    if rule == Trim():
        return family
    gaps = _gaps(family.rows)
    keep = gaps.mean(axis=0) <= rule.max_gaps
    if rule.match:
        keep &= family.match_columns()
    if not keep.any():
        raise BadInputError(f"{family.label}: no columns left after trimming", fix="use a milder --trim")
    if keep.all():
        return family
    chosen = np.flatnonzero(keep).tolist()

    def cut(text: str) -> str:
        return "".join([text[column] for column in chosen])

    features = {name: [item for item in items if item[0] != KEPT_TAG] for name, items in family.sequence_features.items()}
    for name, gap in zip(family.ids, gaps, strict=True):
        kept = residue_ranges(gap, keep)
        if kept is not None:
            features[name] = [*features.get(name, []), (KEPT_TAG, kept)]
    what = "match columns" if rule.match else f"columns with at most {rule.max_gaps:.0%} gaps"
    family = family.with_tree(None)
    return replace(
        family,
        rows=[cut(row) for row in family.rows],
        sequence_features={name: items for name, items in features.items() if items},
        residue_features={n: {tag: cut(text) for tag, text in tags.items()} for n, tags in family.residue_features.items()},
        column_features={tag: cut(text) for tag, text in family.column_features.items()},
        notes=[*family.notes, f"trim {what}: {len(chosen)} of {len(keep)}"],
    )


def residue_ranges(gap: npt.NDArray[np.bool_], keep: npt.NDArray[np.bool_]) -> str | None:
    """Return a row's residues in kept columns as ranges counted from 1 (`3-20,22-150`), None if all were kept."""
    positions = np.cumsum(~gap)
    kept = positions[keep & ~gap]
    if len(kept) == (positions[-1] if len(positions) else 0):
        return None
    if not len(kept):
        return "-"
    starts = np.flatnonzero(np.diff(kept, prepend=-1) != 1)
    ends = np.append(starts[1:], len(kept)) - 1
    return ",".join(f"{kept[a]}-{kept[b]}" for a, b in zip(starts, ends, strict=True))


def coverage(family: Family) -> npt.NDArray[np.float64]:
    """Return the fraction of match columns in which each member has a residue, shape (n,); 0 if there are none."""
    match = family.match_columns()
    fraction: npt.NDArray[np.float64] = (~_gaps(family.rows)[:, match]).sum(axis=1) / max(match.sum(), 1)
    return fraction


def drop_uncovered(family: Family, min_coverage: float) -> Family:
    """Return the family without members whose coverage of the match columns is too low, with a warning.

    Raises:
        UsageError: `min_coverage` is not between 0 and 1.
        BadInputError: no member is left.
    """
    if not 0 <= min_coverage <= 1:
        raise UsageError(f"min_coverage must be from 0 to 1, not {min_coverage}")
    if min_coverage == 0:
        return family
    covered = coverage(family)
    low = [name for name, fraction in zip(family.ids, covered, strict=True) if fraction < min_coverage]
    if not low:
        return family
    if len(low) == len(family):
        raise BadInputError(
            f"{family.label}: no member covers {min_coverage:g} of the match columns (the best covers {covered.max():.2f})",
            fix="lower --min-coverage",
        )
    logger.warning(
        f"{family.label}: left out {len(low)} of {len(family)} members that cover less than {min_coverage:g} of the match "
        f"columns, first {shorten(low[0])!r}"
    )
    gone = set(low)
    kept = family.subset([name for name in family.ids if name not in gone])
    return replace(kept, notes=[*kept.notes, f"coverage at least {min_coverage:g}: left out {len(low)} of {len(family)}"])
