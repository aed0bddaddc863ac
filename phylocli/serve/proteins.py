"""The proteins of a table, and what is known of them: labels, descriptions and sequences."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phylocli.core.errors import BadInputError, UsageError
from phylocli.core.words import counted
from phylocli.formats import as_sequences, read_sequences, tables
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, is_file
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.probe.map.labels import PointLabels, read_point_labels

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

SEQUENCE = "sequence"


@dataclass
class Proteins:
    """The rows of a table.

    Attributes:
        ids: of n proteins.
        labels: column that colours the map, and details; None without labels.
        about: what is known of each, as texts, n rows: `id`, then the label, details and descriptions.
        sequences: unaligned letters by id; empty if unknown.
    """

    ids: list[str]
    labels: PointLabels | None
    about: pl.DataFrame
    sequences: dict[str, str] = field(default_factory=dict)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Number of the row of each id."""
        return {name: row for row, name in enumerate(self.ids)}

    def find(self, text: str, most: int) -> tuple[int, list[int]]:
        """Return the number of proteins whose id, labels and descriptions contain all words of a text, and the first rows.

        Upper and lower case are the same. The protein with this id is first, then ids that begin with the text, then ids
        that contain it, then the others.
        """
        import polars as pl

        words = text.lower().split()
        if not words:
            return 0, []
        found = self._texts.with_row_index("row").filter(
            pl.all_horizontal(pl.col("known").str.contains(word, literal=True) for word in words)
        )
        word = text.strip().lower()
        rank = (
            pl.when(pl.col("id") == word)
            .then(0)
            .when(pl.col("id").str.starts_with(word))
            .then(1)
            .when(pl.col("id").str.contains(word, literal=True))
            .then(2)
            .otherwise(3)
        )
        return found.height, found.sort(rank, "row")["row"].head(most).to_list()

    @cached_property
    def _texts(self) -> pl.DataFrame:
        import polars as pl

        known = pl.concat_str(pl.all(), separator="\n", ignore_nulls=True).alias("known")
        return self.about.select("id", known).select(pl.all().str.to_lowercase())

    def known(self, row: int) -> dict[str, str]:
        """Return what is known of the protein in a row, by column."""
        return {name: value for name, value in self.about.row(row, named=True).items() if value and name != "id"}


def read_proteins(
    table: EmbeddingTable,
    labels: PathLike | pl.DataFrame | None,
    sequences: PathLike | None,
    column: str | None,
    options: ColumnOptions,
) -> Proteins:
    """Return the proteins of a table.

    Without labels, columns of text in the table are labels; without them too, headers of the sequences.

    Args:
        table: of embeddings.
        labels: see `read_point_labels`.
        sequences: file; None takes the column `sequence` of the table.
        column: of the labels, that colours the map.
        options: how columns are interpreted.

    Raises:
        UsageError: no such column.
        BadInputError: labels or sequences without an id in common with the table; files that cannot be read.
    """
    import polars as pl

    own = None if labels is not None else _other_columns(table)
    source = labels if labels is not None else own
    found = None if source is None else _labels_of(source, table, column, options, required=labels is not None)
    letters: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    if sequences is not None:
        wanted = set(table.ids)
        for sequence in read_sequences(sequences, on_duplicate="keep-first"):
            if sequence.id in wanted:
                letters[sequence.id] = sequence.residues
                descriptions[sequence.id] = sequence.description
        _check_overlap(letters, table, str(sequences))
        if found is None:
            found = _labels_of(sequences, table, column, options, required=False)
    else:
        given = own if own is not None else labels if isinstance(labels, pl.DataFrame) else None
        letters = _letters_of(given) if given is not None and SEQUENCE in given.columns else {}
    if column is not None and found is None:
        raise UsageError("--column names a label column, but no labels are given", fix="give --labels TABLE")
    columns: dict[str, list[str | None]] = {} if found is None else {found.name: _shown(found), **found.details}
    if any(descriptions.values()) and not {"description", "protein"} & {name.lower() for name in columns}:
        columns["description"] = [descriptions.get(name) or None for name in table.ids]
    hidden = ("id", "family_name" if found is not None and found.name == "family" else "id")  # a part of the family's label
    texts = {"id": table.ids, **{name: values for name, values in columns.items() if name not in hidden}}
    about = pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String))
    return Proteins(table.ids, found, about, letters)


def _other_columns(table: EmbeddingTable) -> pl.DataFrame | None:
    """Return the ids and the columns of text of a table besides its features; None if it has none."""
    import polars as pl

    left = [taken.column for taken in table.taken if taken.role == "ignored" and taken.column.lower() != "length"]
    ids = next((taken.column for taken in table.taken if taken.role == "ids"), None)
    if ids is None or not left:
        return None
    if table.files:
        with tables.explained(table.name):
            frame = pl.read_parquet(table.files, columns=[ids, *left])
    elif is_file(table.name) and Path(table.name).is_file():
        frame = tables.read_table(table.name)
    else:
        return None
    texts = [column for column in left if column in frame.columns and frame[column].dtype == pl.String and column != "id"]
    return frame[texts].insert_column(0, frame[ids].cast(pl.String).alias("id")) if texts else None


def _labels_of(
    source: PathLike | pl.DataFrame, table: EmbeddingTable, column: str | None, options: ColumnOptions, *, required: bool
) -> PointLabels | None:
    """Return labels; None if there are none, where they are not required."""
    try:
        level = logging.INFO if required else logging.DEBUG
        return read_point_labels(source, table.ids, column, options, table.taken if required else (), level)
    except (BadInputError, UsageError) as error:
        if required or column is not None:
            raise
        logger.debug(str(error))
        return None


def _letters_of(frame: pl.DataFrame) -> dict[str, str]:
    """Return the unaligned sequences of a table, by id; rows without one are left out."""
    given = [(name, text) for name, text in frame.select("id", SEQUENCE).iter_rows() if text]
    return {sequence.id: sequence.residues for sequence in as_sequences(given)}


def _check_overlap(letters: dict[str, str], table: EmbeddingTable, name: str) -> None:
    """Warn of proteins without a sequence.

    Raises:
        BadInputError: none has one.
    """
    if not letters:
        raise BadInputError(
            f"no id of {table.name} is in {name}",
            why=f"ids of the table are like {shorten(table.ids[0], 40)!r}",
            fix="give the sequences that the table was made from",
        )
    if len(letters) < len(table):
        logger.warning(f"{len(table) - len(letters):,} of {counted(len(table), 'protein')} have no sequence in {name}")


def _shown(labels: PointLabels) -> list[str | None]:
    """Return the column of labels as texts."""
    if labels.texts is not None:
        return labels.texts
    assert labels.values is not None
    return [None if np.isnan(value) else f"{value:g}" for value in labels.values]
