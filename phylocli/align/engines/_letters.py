"""Letters that aligners do not know or change: they see `X`, the rows get back what was there."""

from __future__ import annotations

import re

_UNUSUAL = re.compile("[^ACDEFGHIKLMNPQRSTVWYX]")


def plain(sequence: str) -> str:
    """Return a sequence in which every letter but the 20 amino acids is `X`."""
    return _UNUSUAL.sub("X", sequence)


def plain_row(row: str) -> str:
    """Return an aligned row in upper case with `-` for every gap and `X` for every letter but the 20 amino acids."""
    return "".join("-" if c in "-." else plain(c) for c in row.upper())


def restore(row: str, sequence: str) -> str:
    """Return an aligned row with the letters of `sequence` in the place of its own, cases kept."""
    if not _UNUSUAL.search(sequence):
        return row
    letters = iter(sequence)
    return "".join(c if c in "-." else next(letters).lower() if c.islower() else next(letters) for c in row)
