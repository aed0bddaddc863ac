"""Labels collected from a source: several values per id and column, joined to a table of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phylocli.core.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

SEQUENCE = "sequence"
"""The column of sequences, which is not a label; `probe` computes baselines from it."""


@dataclass(frozen=True)
class Labels:
    """The labels from a source.

    Attributes:
        frame: a column `id` with unique ids, and text columns, null where unknown; several values in a cell are separated
            by `;`.
        usual: columns that are used by default.
        how: description of the source, for messages.
        about: columns that describe a usual one, such as names of families: `phylocli labels` writes them beside it.
    """

    frame: pl.DataFrame
    usual: tuple[str, ...]
    how: str
    about: tuple[str, ...] = ()

    def select(self, wanted: Sequence[str], name: str) -> pl.DataFrame:
        """Return the table with the requested columns, or by default with the usual columns that have values.

        Raises:
            UsageError: a requested column does not exist, or no usual column has values.
        """
        columns = [column for column in self.frame.columns if column not in ("id", SEQUENCE)]
        for column in wanted:
            if column not in columns:
                raise UsageError(f"{name} has no column {column!r}", fix=f"its columns are {', '.join(columns)}")
        chosen = list(wanted) or [c for c in self.usual if self.frame[c].null_count() < self.frame.height]
        if not chosen:
            raise UsageError(f"{name} ({self.how}) has no labels", fix=f"choose a column: {', '.join(columns)}")
        return self.frame[["id", *chosen]]  # `select` would take the name * for all columns

    def described_by(self, part: pl.DataFrame) -> list[str]:
        """Return the columns that describe those of a part of the table, and say more than they do."""
        texts = [part[column] for column in part.columns]
        return [c for c in self.about if self.frame[c].count() and not any(self.frame[c].equals(text) for text in texts)]


class Collector:
    """Collects values by id and column; an id that occurs several times has all its values.

    Args:
        columns: columns of the table, in order.
    """

    def __init__(self, columns: Iterable[str]) -> None:
        self._columns = tuple(columns)
        self._rows: dict[str, dict[str, dict[str, None]]] = {}

    def add(self, item: str, **values: str | None) -> None:
        """Add the values of an item; empty values are unknown."""
        row = self._rows.setdefault(item, {})
        for column, value in values.items():
            if value:
                row.setdefault(column, {})[value] = None

    def table(self) -> pl.DataFrame:
        """Return the table, one row per id in the order of first occurrence."""
        import polars as pl

        columns: dict[str, list[str | None]] = {"id": list(self._rows)}
        for column in self._columns:
            join = next if column == SEQUENCE else ";".join
            columns[column] = [join(iter(row[column])) if column in row else None for row in self._rows.values()]
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
