"""NBRF/PIR: `>P1;ID`, a description line, and residues that end with `*`.

The format of the Protein Information Resource, used by MODELLER for alignments. Lines after the `*`, up to the next header,
are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from phylocli.core import alphabet
from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import Sequence, shorten

HEADER = re.compile(r">(?:P1|F1|D1|DL|DC|RL|RC|N1|N3|XX);")


def parse(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Sequence]:
    """Parse sequences from numbered lines; ids and letters are not validated.

    Raises:
        BadInputError: a record has no id, no residues, or no final `*`.
    """
    record: Sequence | None = None
    description: str | None = None
    parts: list[str] = []
    ended = True
    for number, line in lines:
        where = f"{name}, line {number}"
        if line.startswith(">"):
            if not ended:
                raise _cut(record)
            header = HEADER.match(line)
            identifier = line[header.end() :].strip() if header else ""
            if not identifier:
                raise BadInputError(
                    f"{where}: {shorten(line, 40)!r} is not a PIR header", fix="write '>P1;ID', as in the records before"
                )
            first, *rest = identifier.split(maxsplit=1)
            record, description, parts, ended = Sequence(first, "", " ".join(rest), where), None, [], False
        elif ended:
            continue  # comments, and blank lines
        elif description is None:
            assert record is not None
            description = line.strip()
            record.description = f"{record.description} {description}".strip()
        else:
            assert record is not None
            letters, star, _ = line.partition("*")
            parts.append("".join(letters.split()))
            if star:
                record.residues = "".join(parts)
                if not record.residues.strip(alphabet.GAPS):
                    raise BadInputError(
                        f"{record.where}: the record {shorten(record.id)!r} has no residues",
                        fix="remove the empty record, or mend the file",
                    )
                yield record
                ended = True
    if not ended:
        raise _cut(record)


def _cut(record: Sequence | None) -> BadInputError:
    assert record is not None
    return BadInputError(
        f"{record.where}: the PIR record {shorten(record.id)!r} does not end with '*'",
        why="the file may be cut short",
        fix="fetch or write the file again, or end the residues with '*'",
    )
