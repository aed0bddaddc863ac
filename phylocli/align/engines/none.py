"""No alignment: aligned input is only checked, filtered and trimmed."""

from __future__ import annotations

from phylocli.align.settings import Aligned, Settings
from phylocli.formats.family import Family


def align(family: Family, settings: Settings) -> Aligned:
    """Return the rows unchanged.

    Raises:
        BadInputError: rows of different lengths, or invalid letters.
    """
    del settings
    aligned = family.as_aligned()
    return Aligned(list(aligned.rows), aligned.column_features.get("RF", ""), "as given")
