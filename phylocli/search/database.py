"""Opening of tables of embeddings for a search: unit vectors, streamed in bounded memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings, unit
from phylocli.formats.embeddings.table import checked_vectors
from phylocli.formats.streams import PathLike
from phylocli.formats.tables.columns import ColumnOptions

__all__ = ["FloatArray", "IntArray", "open_table", "unit"]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def open_table(source: PathLike | EmbeddingTable, options: ColumnOptions = ColumnOptions()) -> EmbeddingTable:
    """Open a table of embeddings with vectors scaled to length 1; Parquet files and folders of parts are streamed.

    Args:
        source: a table, or a source for `phylocli.formats.embeddings.read_embeddings`.
        options: the roles of columns.

    Raises:
        BadInputError: the table does not exist, contains residue embeddings or no rows, or has duplicate ids.
        UsageError: `options` do not match the table.
    """
    if not isinstance(source, EmbeddingTable):
        table = read_embeddings(source, options, normalised=True)
    elif source.vectors is None:
        table = replace(source, unit=True)
    else:
        vectors = checked_vectors(source.vectors, source.name, lambda row: source.ids[row])
        table = source if source.unit else replace(source, vectors=unit(vectors), unit=True)
    if table.residues is not None:
        raise BadInputError(
            f"{table.name} contains residue embeddings", fix="search sequence embeddings: embed without --per-residue"
        )
    return table
