"""A2M and A3M: aligned FASTA in which insertions are lower case, and gaps in insert columns may be omitted.

In these formats of SAM and HH-suite, upper case and `-` are match columns, the same number in every row. Lower-case letters
between them are insertions; gaps for insertions of other rows are `.` (A2M) or omitted (A3M).
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import shorten

_INSERTS = re.compile("[a-z.]+")

MOST_CELLS = 1 << 27
"""Size of an alignment with filled insertions, in letters, above which it is compared with the size of the file."""


def has_match_columns(rows: list[str]) -> bool:
    """Return whether any row has a letter in a match column; otherwise the rows are lower-case sequences."""
    return any(_INSERTS.sub("", row) for row in rows)


def is_a3m(rows: list[str]) -> bool:
    """Return whether rows are A3M: their lengths differ, but the numbers of upper-case letters and `-` do not."""
    if len({len(row) for row in rows}) < 2 or not any("-" in row for row in rows):
        return False
    return len({len(_INSERTS.sub("", row)) for row in rows}) == 1


def fill_inserts(ids: list[str], rows: list[str], where: str) -> tuple[list[str], str]:
    """Insert `.` for the insertions of other rows, so that all rows have the same length.

    Args:
        ids: names of the rows, for messages.
        rows: rows of the file.
        where: name of the file, for messages.

    Returns:
        The rows, and the `RF` line, in which `x` marks match columns and `.` insert columns, as in HMMER.

    Raises:
        BadInputError: the rows have different numbers of match columns or contain invalid letters, or the alignment would be
            much larger than the file.
    """
    letters = [np.frombuffer(row.replace(".", "").encode("ascii", "replace"), dtype=np.uint8) for row in rows]
    width = -1
    longest: npt.NDArray[np.int64] = np.zeros(1, dtype=np.int64)
    for name, row in zip(ids, letters, strict=True):
        insert, match = _kinds(row)
        if not (insert | match).all():
            raise BadInputError(
                f"{where}: the row of {shorten(name)!r} has a letter that is not part of A2M",
                fix="keep letters, '-' and '.', or use a suffix other than .a2m for another format",
            )
        matches = int(match.sum())
        if width < 0:
            width = matches
            longest = np.zeros(width + 1, dtype=np.int64)
        if matches != width:
            raise BadInputError(
                f"{where}: the row of {shorten(name)!r} has {matches} match columns, "
                f"that of {shorten(ids[0])!r} has {width}",
                why="in A2M every row has upper case or '-' in every match column",
                fix="write all rows from one alignment, or use the suffix .a3m or .fasta for another format",
            )
        np.maximum(longest, np.bincount((np.cumsum(match) - match)[insert], minlength=width + 1), out=longest)
    columns = width + int(longest.sum())
    cells, given = columns * len(rows), sum(map(len, letters))
    if cells > MOST_CELLS and cells > 20 * given:
        raise BadInputError(
            f"{where}: with a column for every insert, the alignment has {len(rows)} rows of {columns} columns",
            why=f"that is more than 20 times the file's {given} letters",
            fix="remove the inserts (lower case) first, as 'reformat.pl -r' of HH-suite does",
        )
    # There is a slot for insertions before each match column and after the last, as wide as the longest insertion.
    first = np.cumsum(longest + 1) - (longest + 1)
    filled = []
    for row in letters:
        insert, match = _kinds(row)
        slot: npt.NDArray[np.int64] = np.cumsum(match) - match
        begins = np.searchsorted(slot, np.arange(width + 1))  # start of each slot's letters in the row
        place = np.where(match, first[slot] + longest[slot], first[slot] + np.arange(len(row)) - begins[slot])
        line = np.full(columns, ord("."), dtype=np.uint8)
        line[place] = row
        filled.append(line.tobytes().decode("ascii"))
    marks = np.full(columns, ord("."), dtype=np.uint8)
    marks[first[:-1] + longest[:-1]] = ord("x")
    return filled, marks.tobytes().decode("ascii")


def _kinds(row: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which letters of a row are insertions, and which are in match columns."""
    upper = (row >= ord("A")) & (row <= ord("Z"))
    return (row >= ord("a")) & (row <= ord("z")), upper | (row == ord("-")) | (row == ord("*"))
