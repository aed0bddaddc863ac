"""Species of sequences from a table."""

from __future__ import annotations

from phylocli.core.errors import BadInputError
from phylocli.formats.species import SpeciesRule
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.reading import read_table, require_columns


def species_rule(table: PathLike | None = None, pattern: str | None = None) -> SpeciesRule:
    """Return the rule for the species of a sequence: a table, a regular expression, or by default UniProt names.

    Args:
        table: a table with the columns `id` and `species` (or `organism`, as written by `fetch --annotations`).
        pattern: a regular expression; see `SpeciesRule`.

    Raises:
        UsageError: both are given, or the pattern is not a regular expression.
        BadInputError: the table lacks these columns, or has an id with two species.
    """
    if table is None:
        return SpeciesRule(pattern=pattern)
    frame = read_table(table, typed=False)
    column = "organism" if "organism" in frame.columns and "species" not in frame.columns else "species"
    require_columns(frame, ["id", column], str(table), "a table of species")
    found: dict[str, str] = {}
    for name, species in frame.select("id", column).iter_rows():
        known = "" if species is None else str(species)
        if name is not None and found.setdefault(str(name), known) != known:
            raise BadInputError(
                f"{table}: {name!r} has two species, {found[str(name)]!r} and {known!r}", fix="keep one row per id"
            )
    return SpeciesRule(found, pattern)
