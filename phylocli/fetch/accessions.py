"""Parsing of requests for families: `PF00042`, `pf00042.27`, `CL0090`, `IPR000971`, `P68871`, `globin`, or a list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.input_formats import EMPTY, TABLE_TEXT, TEXT, sniff
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name, open_input, text_lines

_FAMILY = re.compile(r"(PF\d{5})(?:\.(\d+))?", re.ASCII)
_CLAN = re.compile(r"(CL\d{4})(?:\.\d+)?", re.ASCII)


FAMILIES_LOOK_LIKE = "an accession such as PF00042, or a name such as globin"
PROTEIN = re.compile(r"([OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2})(-[0-9]{1,3})?", re.ASCII)
"""A UniProt accession, optionally with an isoform."""
_OTHERS = (
    ("interpro", r"IPR[0-9]{6}"),
    ("cdd", r"[CS]D[0-9]{5}"),
    ("panther", r"PTHR[0-9]{5}(:SF[0-9]{1,4})?"),
    ("prosite", r"PS[0-9]{5}"),
    ("smart", r"SM[0-9]{5}"),
    ("ssf", r"SSF[0-9]{5,6}"),
    ("cathgene3d", r"G3DSA:[0-9]\.[0-9]{2,3}\.[0-9]{1,4}\.[0-9]{2,5}"),
    ("prints", r"PR[0-9]{5}"),
    ("pirsf", r"PIRSF[0-9]{6}"),
    ("hamap", r"MF_[0-9]{5}(_[AB])?"),
    ("ncbifam", r"TIGR[0-9]{5}|NF[0-9]{6}"),
    ("sfld", r"SFLD[FGS][0-9]{5}"),
)
"""InterPro and its member databases, by their names in the API, with the patterns of their accessions."""


@dataclass(frozen=True)
class Wanted:
    """A requested family: the accession, and the version if given."""

    accession: str
    version: str = ""


@dataclass(frozen=True)
class Foreign:
    """An accession of a database other than Pfam, which InterPro maps to Pfam.

    Attributes:
        database: the name of the database in the InterPro API; `uniprot` for a protein.
        accession: the accession in the spelling of the database.
    """

    database: str
    accession: str


@dataclass(frozen=True)
class Name:
    """A possible name of a family, or part of one."""

    text: str


def recognise(text: str) -> Wanted | Foreign | Name:
    """Parse a request: a Pfam accession, an accession of another database, or a name.

    Raises:
        UsageError: the text is an invalid Pfam accession, too short, or contains no letter.
    """
    given = text.strip()
    upper = given.upper()
    if _FAMILY.fullmatch(upper) or re.match(r"PF\d", upper):
        return parse_family(given)
    for database, pattern in _OTHERS:
        if re.fullmatch(pattern, upper, re.ASCII):
            return Foreign(database, upper.lower() if database == "cdd" else upper)
    protein = PROTEIN.fullmatch(upper)
    if protein:
        return Foreign("uniprot", protein.group(1))
    if len(given) < 2 or not any(letter.isalpha() for letter in given) or not given.isprintable():
        raise UsageError(f"{shorten(text, 40)!r} is not a family", fix=f"give {FAMILIES_LOOK_LIKE}")
    return Name(given)


def is_clan(text: str) -> bool:
    """Return whether a text is the accession of a Pfam clan."""
    return _CLAN.fullmatch(text.strip().upper()) is not None


def parse_family(text: str) -> Wanted:
    """Parse a Pfam accession, with or without version.

    Raises:
        UsageError: the text is not a Pfam accession.
    """
    found = _FAMILY.fullmatch(text.strip().upper())
    if not found:
        raise UsageError(
            f"{shorten(text, 40)!r} is not a Pfam accession",
            fix="accessions look like PF00042 or PF00042.27",
        )
    return Wanted(found.group(1), found.group(2) or "")


def parse_clan(text: str) -> str:
    """Parse the accession of a Pfam clan; return it without version.

    Raises:
        UsageError: the text is not a clan accession.
    """
    found = _CLAN.fullmatch(text.strip().upper())
    if not found:
        raise UsageError(f"{shorten(text, 40)!r} is not a Pfam clan", fix="clans look like CL0090")
    return found.group(1)


def read_list(source: PathLike | None) -> list[str]:
    """Return the first word of each line of a file or pipe; empty lines and text after `#` are ignored.

    Raises:
        BadInputError: the list is empty, or the file is in a format of its own, such as FASTA.
    """
    name = display_name(source)
    found: list[str] = []
    with open_input(source) as stream:
        form = sniff(stream)
        if form not in (TEXT, TABLE_TEXT, EMPTY):
            raise BadInputError(f"{name} is {form.phrase}, not a list of accessions", fix="give one accession per line")
        for _, line in text_lines(stream, name):
            words = line.split("#", 1)[0].replace(",", " ").split()
            found += words[:1]
    if not found:
        raise BadInputError(f"{name} contains no accession", fix="give one accession per line")
    return found


def unique(items: Iterable[Wanted]) -> list[Wanted]:
    """Remove duplicate families, keeping the order; the first occurrence determines the version."""
    kept: dict[str, Wanted] = {}
    for item in items:
        kept.setdefault(item.accession, item)
    return list(kept.values())
