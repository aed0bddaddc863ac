"""Accessions as users write them: `PF00042`, `pf00042.27`, `CL0090`, a file of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines

_FAMILY = re.compile(r"(PF\d{5})(?:\.(\d+))?", re.ASCII)
_CLAN = re.compile(r"(CL\d{4})(?:\.\d+)?", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """A family that was asked for: its accession, and the version where one was named."""

    accession: str
    version: str = ""


def parse_family(text: str) -> Wanted:
    """Return the family that a text names.

    Raises:
        UsageError: it is no Pfam accession.
    """
    found = _FAMILY.fullmatch(text.strip().upper())
    if not found:
        raise UsageError(
            f"{shorten(text, 40)!r} is not a Pfam accession",
            why="the services know families by accession only, not by name",
            fix="accessions look like PF00042 or PF00042.27",
        )
    return Wanted(found.group(1), found.group(2) or "")


def parse_clan(text: str) -> str:
    """Return the accession of the clan that a text names.

    Raises:
        UsageError: it is no clan accession.
    """
    found = _CLAN.fullmatch(text.strip().upper())
    if not found:
        raise UsageError(f"{shorten(text, 40)!r} is not a Pfam clan", fix="clans look like CL0090")
    return found.group(1)


def read_list(source: PathLike | None) -> list[str]:
    """Return the first word of each line of a file or pipe; empty lines and what follows a `#` are left out.

    Raises:
        BadInputError: nothing in it.
    """
    name = display_name(source)
    found: list[str] = []
    with open_input(source) as stream:
        for _, line in text_lines(stream, name):
            words = line.split("#", 1)[0].replace(",", " ").split()
            found += words[:1]
    if not found:
        raise BadInputError(f"{name} names nothing", fix="give one accession a line")
    return found


def unique(items: Iterable[Wanted]) -> list[Wanted]:
    """Return the families in their order, each once; the first mention decides on the version."""
    kept: dict[str, Wanted] = {}
    for item in items:
        kept.setdefault(item.accession, item)
    return list(kept.values())
