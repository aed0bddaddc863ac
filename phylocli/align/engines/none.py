"""No alignment: aligned input is only checked, filtered and trimmed."""

from __future__ import annotations

from phylocli.align.settings import Aligned, Settings
from phylocli.core.alphabet import check_residues
from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family


def align(family: Family, settings: Settings) -> Aligned:
    """Return the rows unchanged.

    Raises:
        BadInputError: rows of different lengths, or invalid letters.
    """
    del settings
    for name, row in zip(family.ids, family.rows, strict=True):
        check_residues(row, name, family.where)
    if len({len(row) for row in family.rows}) != 1:
        raise BadInputError(
            f"{family.label}: rows have different lengths, so this is not an alignment",
            fix="use --engine profile or --engine famsa",
        )
    return Aligned(list(family.rows), family.column_features.get("RF", ""), "as given")
