"""Species of sequences by id: UniProt mnemonics, a table, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Mapping

from phylocli.core.errors import UsageError

MNEMONIC = r"^(?:(?:sp|tr)\|[^|]*\|)?[A-Z0-9]{1,10}_([A-Z][A-Z0-9]{2,4})(?:/\d+-\d+)?$"
"""Matches UniProt entry names such as `HBA_HUMAN/7-107` and `sp|P69905|HBA_HUMAN`.

Codes that start with a digit, such as `9BACT`, denote higher taxa instead of species and do not match.
"""
_COORDINATES = re.compile(r"/\d+-\d+$")


class SpeciesRule:
    """Maps ids to species; an empty string if unknown.

    Args:
        table: species by id. An id with coordinates, `ID/7-107`, that is not in the table is looked up as `ID`. The species
            of other ids is unknown.
        pattern: regular expression that is searched for in the id; its first group, or the whole match, is the species. None
            matches UniProt mnemonics.

    Raises:
        UsageError: both are given, or the pattern is not a regular expression.
    """

    def __init__(self, table: Mapping[str, str] | None = None, pattern: str | None = None) -> None:
        if table is not None and pattern is not None:
            raise UsageError("species come from a table or a pattern, not from both", fix="omit one of them")
        self.table = table
        try:
            self.pattern = re.compile(pattern or MNEMONIC)
        except re.error as error:
            raise UsageError(
                f"{pattern!r} is not a regular expression",
                why=str(error),
                fix="correct it; a \\ before a character makes it literal",
            ) from None

    def __call__(self, name: str) -> str:
        """Return the species of an id."""
        if self.table is not None:
            return self.table.get(name) or self.table.get(_COORDINATES.sub("", name), "")
        found = self.pattern.search(name)
        return "" if found is None else found.group(1 if self.pattern.groups else 0) or ""
