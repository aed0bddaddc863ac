"""No alignment: the input is aligned already, and is only checked, filtered and trimmed."""

from __future__ import annotations

from phylocli.align.settings import Aligned, Settings
from phylocli.core.alphabet import check_residues
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family


def align(family: Family, settings: Settings) -> Aligned:
    """Return the rows as they are.

    Raises:
        BadInputError: rows of different lengths, or letters that are no residues.
    """
    del settings
    for name, row in zip(family.ids, family.rows, strict=True):
        check_residues(row, name, family.where)
    if len({len(row) for row in family.rows}) != 1:
        raise BadInputError(
            f"{family.label}: rows have different lengths: not an alignment",
            fix="use --engine profile or --engine famsa",
        )
    return Aligned(list(family.rows), family.column_features.get("RF", ""), "as given")
