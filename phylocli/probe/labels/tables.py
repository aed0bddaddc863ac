"""Labels from tables: identification of the column of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings.table import checked_ids
from phylocli.formats.tables.columns import ColumnOptions, Taken, id_column
from phylocli.formats.tables.values import numbers_of, texts_of

if TYPE_CHECKING:
    import polars as pl


def with_ids(
    frame: pl.DataFrame, name: str, options: ColumnOptions = ColumnOptions(), also_labels: tuple[str, ...] = ()
) -> tuple[pl.DataFrame, Taken]:
    """Return a table with its column of ids as text, first and named `id`, and the original column.

    Args:
        frame: the table.
        name: name of the table, for messages.
        options: the user's options for columns.
        also_labels: lower-case names of columns that are labels even if they contain the ids.

    Raises:
        BadInputError: the table has no rows, no ids or no other column, or an id occurs twice.
    """
    import polars as pl

    if frame.height == 0:
        raise BadInputError(f"{name} has no rows", fix="add rows below the header")
    schema = pl.Schema({column: _kind_of(frame[column]) for column in frame.columns})
    chosen = id_column(schema, name, options)
    ids = pl.Series("id", checked_ids(frame[chosen.column].cast(pl.String).to_list(), name), dtype=pl.String)
    keep = [column for column in frame.columns if column != chosen.column]
    if chosen.column.lower() in also_labels:
        keep.insert(0, chosen.column)
    found = pl.DataFrame([ids, *(frame[column] for column in keep if column != "id")])
    if found.width < 2:
        raise BadInputError(f"{name} has ids but no labels", fix="add at least one column of labels")
    return found, chosen


def _kind_of(column: pl.Series) -> pl.DataType:
    """Return the type of a column; the type of the numbers if a text column contains only numbers."""
    import polars as pl

    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return column.dtype
    numbers = numbers_of(texts_of(column))
    return column.dtype if numbers is None else numbers.dtype
