"""Alignments in Clustal, PHYLIP and NEXUS, the latter two through Biopython.

PHYLIP names are separated from the residues by a blank (relaxed) or take ten characters (strict), and rows are interleaved
or sequential. The first variant that can be parsed is used.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from typing import Any, BinaryIO

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import Sequence
from phylocli.formats.streams import text_lines

_PHYLIP = ("phylip-relaxed", "phylip", "phylip-sequential")


def clustal(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the rows of a Clustal alignment, as written by ClustalW, Clustal Omega, MUSCLE, Kalign and PROBCONS.

    Biopython is not used, because its parser does not terminate for a file that ends after the header.
    """
    rows: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    for number, line in text_lines(stream, name):
        if number == 1 or not line.strip() or line[0].isspace():  # header, blank line, or conservation line
            continue
        words = line.split()
        if len(words) not in (2, 3) or (len(words) == 3 and not words[2].isdigit()):
            raise _unreadable(name, "Clustal", f"line {number} is not a name, residues, and at most a count: {line[:40]!r}")
        rows.setdefault(words[0], []).append(words[1])
        first.setdefault(words[0], number)
    if len({len(blocks) for blocks in rows.values()}) > 1:
        raise _unreadable(name, "Clustal", "not every block has every row")
    if not rows:
        raise _unreadable(name, "Clustal", "it contains no alignment")
    for identifier, blocks in rows.items():
        yield Sequence(identifier, "".join(blocks), "", f"{name}, line {first[identifier]}")


def phylip(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the rows of a PHYLIP alignment."""
    return _rows(stream, name, "PHYLIP", _PHYLIP)


def nexus(stream: BinaryIO, name: str, letters: str = "protein") -> Iterator[Sequence]:
    """Read the rows of the characters or data block of a NEXUS file."""
    return _rows(stream, name, "NEXUS", ("nexus",))


def _rows(stream: BinaryIO, name: str, what: str, variants: SequenceOf[str]) -> Iterator[Sequence]:
    """Read the rows of the first alignment of a file, in the first variant of the format that can be parsed.

    Raises:
        BadInputError: no variant can be parsed, or there is no alignment.
    """
    from Bio import AlignIO
    from Bio.Nexus.Nexus import NexusError

    text = "".join(f"{line}\n" for _, line in text_lines(stream, name))
    problem = ""
    for variant in variants:
        try:
            alignments: list[Any] = list(AlignIO.parse(io.StringIO(text), variant))
        except (ValueError, AssertionError, IndexError, KeyError, AttributeError, TypeError, NexusError) as error:
            problem = problem or str(error).split("\n", 1)[0][:200]
            continue
        if alignments and len(alignments[0]) and (what != "PHYLIP" or _is_whole(alignments[0], text)):
            for number, row in enumerate(alignments[0], 1):
                yield Sequence(str(row.id).replace(" ", "_"), str(row.seq), "", f"{name}, row {number}")
            return
    holds = "its rows do not have the length on its first line"
    if what == "NEXUS":
        holds = "it has no data or characters block with an alignment"
        if re.search(r"^\s*begin\s+trees\s*;", text, re.IGNORECASE | re.MULTILINE):
            holds = "it is a file of trees"
    raise _unreadable(name, what, problem or holds)


def _is_whole(rows: Any, text: str) -> bool:
    """Return whether PHYLIP rows have the number and length given on the first line."""
    count, length = map(int, text.split(maxsplit=2)[:2])
    return len(rows) == count and all(len(row) == length for row in rows)


def _unreadable(name: str, what: str, why: str) -> BadInputError:
    return BadInputError(
        f"{name} cannot be read as {what}",
        why=why,
        fix="check that the file is whole, or write the alignment as Stockholm or aligned FASTA",
    )
