"""The species of a sequence, from its id: UniProt mnemonics, a table, or a regular expression."""

from __future__ import annotations

import re
from collections.abc import Mapping

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import read_table, require_columns

MNEMONIC = r"^(?:(?:sp|tr)\|[^|]*\|)?[A-Z0-9]{1,10}_([A-Z][A-Z0-9]{2,4})(?:/\d+-\d+)?$"
"""UniProt entry names, as `HBA_HUMAN/7-107` and `sp|P69905|HBA_HUMAN`.

Codes that start with a digit, such as `9BACT`, are those of higher taxa and not of one species: they do not match.
"""
_COORDINATES = re.compile(r"/\d+-\d+$")


class SpeciesRule:
    """Gives the species of ids; an empty string where it is unknown.

    Args:
        table: species by id. An id with coordinates, `ID/7-107`, that is not listed is looked up as `ID`. Ids that are not
            in the table have no known species.
        pattern: regular expression that is searched in the id; its first group, or the whole match, is the species.

    Raises:
        UsageError: both are given, or the pattern is not a regular expression.
    """

    def __init__(self, table: Mapping[str, str] | None = None, pattern: str = MNEMONIC) -> None:
        if table is not None and pattern != MNEMONIC:
            raise UsageError("species comes from a table or from a pattern, not from both", fix="leave out one of them")
        self.table = table
        try:
            self.pattern = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"{pattern!r} is not a regular expression", why=str(error)) from None

    @classmethod
    def read(cls, table: PathLike | None = None, pattern: str | None = None) -> SpeciesRule:
        """Return the rule that a user asks for: a table with the columns `id` and `species` (or `organism`, as
        `fetch --annotations` writes it), a pattern, or UniProt's names.

        Raises:
            UsageError: both are given, or the pattern is not a regular expression.
            BadInputError: no such columns, or an id with two species.
        """
        if table is None:
            return cls(pattern=pattern or MNEMONIC)
        frame = read_table(table, typed=False)
        column = "organism" if "organism" in frame.columns and "species" not in frame.columns else "species"
        require_columns(frame, ["id", column], str(table), "a table of species")
        found: dict[str, str] = {}
        for name, species in frame.select("id", column).iter_rows():
            known = "" if species is None else str(species)
            if name is not None and found.setdefault(str(name), known) != known:
                raise BadInputError(f"{table}: {name!r} has two species, {found[str(name)]!r} and {known!r}")
        return cls(found, pattern or MNEMONIC)

    def __call__(self, name: str) -> str:
        """Return the species of an id."""
        if self.table is not None:
            return self.table.get(name) or self.table.get(_COORDINATES.sub("", name), "")
        found = self.pattern.search(name)
        return "" if found is None else found.group(1 if self.pattern.groups else 0) or ""
