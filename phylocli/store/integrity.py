"""Integrity of records and profiles: complete, and with the expected accession."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from phylocli.core.errors import BadInputError
from phylocli.formats.family import Family
from phylocli.formats.stockholm import split_accession

FETCH_AGAIN = "remove the file and fetch it again"

_HMM_FIELD = re.compile(rb"^(NAME|ACC|LENG)[ \t]+(\S+)")


def check_family(family: Family, accession: str | None, name: str) -> None:
    """Raise an error unless a family has the expected accession and is complete.

    Raises:
        BadInputError: another accession, no `SQ` line, or a different number of rows.
    """
    if accession is not None and family.accession != accession:
        raise BadInputError(
            f"{name} contains {family.accession or 'a record without accession'}, not {accession}", fix=FETCH_AGAIN
        )
    if family.declared_size is None:
        raise BadInputError(f"{name} has no SQ line (number of sequences)", fix=FETCH_AGAIN)
    if family.declared_size != len(family):
        raise BadInputError(
            f"{name} has {len(family)} sequences, but its SQ line has {family.declared_size}", fix=FETCH_AGAIN
        )


def file_md5(path: Path) -> str:
    """Return the MD5 of a file, as published by Pfam."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_profile(text: bytes, accession: str | None, name: str) -> None:
    """Raise an error unless a text is exactly one complete HMMER3 profile with the expected accession.

    Raises:
        BadInputError: not `HMMER3/f` … `//`, another accession, or a number of nodes different from `LENG`.
    """
    lines = text.splitlines()
    if not lines or not lines[0].startswith(b"HMMER3/f"):
        raise BadInputError(f"{name} is not a HMMER3 profile", fix=FETCH_AGAIN)
    if lines[-1].strip() != b"//" or lines.count(b"//") != 1:
        raise BadInputError(
            f"{name} is not exactly one complete profile: it does not end with its only '//'", fix=FETCH_AGAIN
        )
    fields: dict[bytes, str] = {}
    last_node = 0
    body = False
    for line in lines:
        if body:
            # A node is three lines; the first one starts with its number.
            word = line.split(None, 1)[0] if line.strip() else b""
            if word.isdigit() and int(word) == last_node + 1:
                last_node += 1
        elif line.startswith(b"HMM "):
            body = True
        elif found := _HMM_FIELD.match(line):
            fields.setdefault(found.group(1), found.group(2).decode("latin-1"))
    held = split_accession(fields.get(b"ACC", ""))[0]
    if accession is not None and held != accession:
        raise BadInputError(f"{name} contains {held or 'a profile without accession'}, not {accession}", fix=FETCH_AGAIN)
    length = fields.get(b"LENG", "")
    if not length.isdigit() or int(length) != last_node:
        raise BadInputError(f"{name} has {last_node} nodes, but LENG is {length or 'missing'}", fix=FETCH_AGAIN)
