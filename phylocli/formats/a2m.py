"""A2M and A3M: aligned FASTA in which insert states are lower case and their gaps may be left out.

The format of SAM and HH-suite: upper case and `-` are match columns, the same number in every row; lower case letters stand
between them, and `.` fills up for the inserts of other rows, or is not written at all.
"""

from __future__ import annotations

import re

from phylocli.errors import BadInputError
from phylocli.formats.fasta import shorten

SUFFIXES = (".a2m", ".a3m")
_INSERTS = re.compile("[a-z.]+")
_SLOT = re.compile(r"([a-z.]*)([A-Z*-]?)")


def is_a3m(rows: list[str]) -> bool:
    """Return whether rows can only be A3M: inserts in lower case, and gaps left out where other rows have inserts.

    Then lengths differ, and the number of upper case letters and `-` does not.
    """
    if len({len(row) for row in rows}) < 2 or not any("-" in row for row in rows):
        return False
    return len({len(_INSERTS.sub("", row)) for row in rows}) == 1


def fill_inserts(ids: list[str], rows: list[str], where: str) -> tuple[list[str], str]:
    """Return the rows with `.` for the inserts of other rows, so that all have one length; and their `RF` line.

    In that line, as in HMMER's, `x` marks match columns and `.` inserts.

    Args:
        ids: names of the rows, for messages.
        rows: as they stand in the file.
        where: the file, for messages.

    Raises:
        BadInputError: the rows do not have one number of match columns.
    """
    # A row is a run of inserts before each match column, and one after the last.
    split = [[(insert.replace(".", ""), match) for insert, match in _SLOT.findall(row)] for row in rows]
    slots = []
    for name, row, parts in zip(ids, rows, split, strict=True):
        matches = [(insert, match) for insert, match in parts if match]
        tail = "".join(insert for insert, match in parts if not match)
        if sum(len(i) + len(m) for i, m in parts) != len(row.replace(".", "")):
            raise BadInputError(f"{where}: the row of {shorten(name)!r} holds a letter that A2M does not know")
        slots.append([*matches, (tail, "")])
    width = len(slots[0])
    for name, slot in zip(ids, slots, strict=True):
        if len(slot) != width:
            raise BadInputError(
                f"{where}: the row of {shorten(name)!r} has {len(slot) - 1} match columns, "
                f"that of {shorten(ids[0])!r} has {width - 1}",
                why="in A2M every row has upper case or '-' in every match column",
            )
    longest = [max(len(slot[i][0]) for slot in slots) for i in range(width)]
    filled = ["".join(f"{insert:.<{longest[i]}}{match}" for i, (insert, match) in enumerate(slot)) for slot in slots]
    reference = "".join("." * longest[i] + ("x" if i + 1 < width else "") for i in range(width))
    return filled, reference
