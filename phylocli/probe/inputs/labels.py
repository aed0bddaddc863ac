"""Labels tables: any table with ids, or a FASTA file with SCOPe's headers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_sequences
from phylocli.formats.embeddings.table import checked_ids
from phylocli.formats.input_formats import FASTA, sniff_file
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables import read_table
from phylocli.formats.tables.columns import ColumnOptions, Taken, id_column
from phylocli.formats.tables.values import numbers_of, texts_of
from phylocli.probe.inputs.label_types import MUTATION_COLUMNS, is_text

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

SEQUENCE_COLUMNS = ("sequence", "mutated_sequence")

_SCCS = re.compile(r"[a-l]\.\d+\.\d+\.\d+(?=\s|$)")
"""SCOPe's concise classification string: class, fold, superfamily, family."""


def read_labels(source: PathLike | pl.DataFrame, options: ColumnOptions = ColumnOptions()) -> pl.DataFrame:
    """Return the table of `read_label_table` alone."""
    return read_label_table(source, options)[0]


def labels_name(source: PathLike | pl.DataFrame) -> str:
    """Return how messages call a labels table."""
    import polars as pl

    return "labels" if isinstance(source, pl.DataFrame) else display_name(source)


def read_label_table(
    source: PathLike | pl.DataFrame, options: ColumnOptions = ColumnOptions()
) -> tuple[pl.DataFrame, Taken]:
    """Read a labels table; its column of ids is renamed `id` and is text, texts stand as they are in the file.

    A FASTA file with SCOPe's headers (`>d1dlwa_ a.1.1.1 (A:) Protozoan globin`) is one too, with the columns `family`,
    `superfamily`, `fold`, `class` and `sequence`. What the other columns hold is for `columns.read_column` to say.

    Args:
        source: the table, or `-` for standard input, or a polars frame.
        options: how the user wants columns to be interpreted.

    Returns:
        The table, and which column held the ids.

    Raises:
        BadInputError: not a table, no ids, an id that occurs twice, no other column.
        UsageError: `options` name columns that are not there.
    """
    import polars as pl

    name = labels_name(source)
    if isinstance(source, pl.DataFrame):
        frame = source
    elif Path(source).is_file() and sniff_file(source) is FASTA:  # a pipe is read once: tables only
        return _scope_labels(source, name), Taken("header", "ids", "FASTA with SCOPe's classification")
    else:
        frame = read_table(source, typed=False)
    if frame.height == 0:
        raise BadInputError(f"{name} has no rows")
    schema = pl.Schema({column: _kind_of(frame[column]) for column in frame.columns})
    chosen = id_column(schema, name, options)
    ids = pl.Series("id", checked_ids(frame[chosen.column].cast(pl.String).to_list(), name), dtype=pl.String)
    keep = [column for column in frame.columns if column != chosen.column]
    if chosen.column.lower() in MUTATION_COLUMNS:  # ProteinGym's ids are the mutations
        keep.insert(0, chosen.column)
    frame = pl.DataFrame([ids, *(frame[column] for column in keep if column != "id")])
    if frame.width < 2:
        raise BadInputError(f"{name} has ids but no labels", fix="add at least one column of labels")
    for column in (*options.classes, *options.quantities):
        if column not in frame.columns:
            raise UsageError(f"{name} has no column {column!r}", fix=f"its columns are {', '.join(frame.columns)}")
    logger.debug(f"{name}: {frame.height:,} rows, ids in {chosen.column!r} ({chosen.why})")
    return _with_sequence(frame), chosen


def _kind_of(column: pl.Series) -> pl.DataType:
    """Return the type of a column; of one of texts that are all numbers, that of numbers."""
    if not is_text(column):
        return column.dtype
    numbers = numbers_of(texts_of(column))
    return column.dtype if numbers is None else numbers.dtype


def _with_sequence(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with a column `sequence`, where one is called `Sequence` or, as in ProteinGym, `mutated_sequence`."""
    by_lower = {column.lower(): column for column in frame.columns}
    found = next((by_lower[name] for name in SEQUENCE_COLUMNS if name in by_lower), None)
    return frame if found in (None, "sequence") else frame.rename({found: "sequence"})


def _scope_labels(source: PathLike, name: str) -> pl.DataFrame:
    """Return the labels that the headers of a SCOPe FASTA file name.

    Raises:
        BadInputError: a header without a SCOPe classification, or an id that occurs twice.
    """
    import polars as pl

    rows = []
    for item in read_sequences(source, on_duplicate="error"):
        found = _SCCS.match(item.description)
        if found is None:
            raise BadInputError(
                f"{item.where or name}: the header of {shorten(item.id)!r} has no SCOPe classification",
                why="labels as FASTA are headers like '>d1dlwa_ a.1.1.1 (A:) Protozoan globin'",
                fix="give a table with a column of ids and columns of labels instead",
            )
        parts = found[0].split(".")
        rows.append((item.id, found[0], ".".join(parts[:3]), ".".join(parts[:2]), parts[0], item.residues.upper()))
    return pl.DataFrame(rows, schema=["id", "family", "superfamily", "fold", "class", "sequence"], orient="row")
