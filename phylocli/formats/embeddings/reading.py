"""Reading of embedding tables; the format is detected from the content."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats import tables
from phylocli.formats.embeddings.arrays import is_npz, read_hdf5, read_npz
from phylocli.formats.embeddings.esm import is_folder, is_tensors, read_folder, read_tensors
from phylocli.formats.embeddings.table import (
    EmbeddingTable,
    FloatArray,
    ResidueTable,
    batches_of,
    checked_ids,
    checked_vectors,
    unit,
    vectors_of,
)
from phylocli.formats.input_formats import ARROW, ARROW_STREAM, HDF5, NPY, PARQUET, ZIP, names_of, sniff_file
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import STDIO, PathLike, display_name, is_url, note_input
from phylocli.formats.tables.columns import ColumnOptions, Taken, feature_columns, id_column, span
from phylocli.formats.tables.parts import is_parts, part_files
from phylocli.formats.tables.values import texts_of

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)


def read_embeddings(
    source: PathLike | None, options: ColumnOptions = ColumnOptions(), *, normalised: bool = False
) -> EmbeddingTable:
    """Read a table of embeddings; the format is detected from the content.

    Formats: Parquet, Arrow, TSV or CSV with columns of ids and features (see `phylocli.formats.tables.columns`); NPZ, HDF5
    or `.pt` with `ids` and `embeddings`, or with one vector per sequence; NPY with the ids in a text file in the same
    folder; a folder of parts written by `phylocli embed -o FOLDER/`, or of `.pt` files written by ESM's extraction script.
    Parquet files and parts with a column of vectors are streamed: only the ids are read here.

    Args:
        source: the file or folder; `-` or None is standard input.
        options: the roles of columns.
        normalised: scale the vectors to length 1.

    Raises:
        BadInputError: the file does not exist, is damaged, has no rows or is not a table of embeddings; ids are missing or
            not unique; vectors are missing, of different lengths, or not finite (for streamed tables, raised when the
            vectors are read).
        UsageError: `options` do not match the table.

    Examples:
        >>> phylocli.load_model("default").embed("examples/globins.fasta").write("globins.parquet")
        >>> table = phylocli.read_embeddings("globins.parquet")
        >>> len(table), table.dimension
        (45, 1024)
    """
    try:
        found = _read(source, options)
    except tables.NotATableError as error:
        if error.holds == "sequences":
            given = STDIO if source is None else shlex.quote(str(source))
            error.fix = f"embed the sequences first: phylocli embed {given} -o emb.parquet"
        else:
            error.fix = f"give a table of embeddings: {names_of('table', 'vectors')}"
        raise
    if not found.ids:
        raise BadInputError(f"{found.name} has no rows", fix="check the command that wrote it")
    if normalised:
        found.unit = True
        found.vectors = None if found.vectors is None else unit(found.vectors)
    _report(found)
    return found


def _read(source: PathLike | None, options: ColumnOptions) -> EmbeddingTable:
    name = display_name(source)
    if source is None or str(source) == STDIO:
        found = _from_frame(tables.read_table(None), name, options)
    elif is_url(source):
        raise BadInputError(
            f"{name}: tables of embeddings are read from files",
            why="their rows are read more than once",
            fix="copy it to a disk first",
        )
    elif is_parts(source):
        found = _from_parquet(part_files(source), name, options)
    elif is_folder(Path(source)):
        found = _from_arrays(*read_folder(Path(source)), name, "files of tensors, one per sequence")
    else:
        form = sniff_file(source)
        if form is PARQUET and _plain(source):
            found = _from_parquet([Path(source)], name, options)
        elif form is NPY or (form is ZIP and is_npz(source)):
            found = _from_arrays(*read_npz(source), name, "NumPy arrays")
        elif form is ZIP and is_tensors(source):
            found = _from_arrays(*read_tensors(source), name, "tensors")
        elif form is HDF5:
            found = _from_arrays(*read_hdf5(source), name, "HDF5 datasets")
        elif form in (PARQUET, ARROW, ARROW_STREAM):
            whole = tables.read_arrow(source)
            found = _from_frame(tables.arrow_frame(whole, name), name, options, tables.metadata_of(whole.schema))
        else:
            found = _from_frame(tables.read_table(source), name, options)
    return found


def _report(table: EmbeddingTable) -> None:
    """Log which columns hold the features: at level INFO if they were chosen by name, else DEBUG."""
    features = next(taken for taken in table.taken if taken.role == "features")
    text = f"{table.name}: {table.dimension} features from {features.column} ({features.why})"
    left = [taken.column or "(no name)" for taken in table.taken if taken.role == "ignored" and taken.column != "length"]
    text += f"; not used: {span(left)}" if left else ""
    # A column of vectors is unambiguous.
    (logger.info if "columns" in features.why else logger.debug)(text)


def _plain(source: PathLike) -> bool:
    """Return whether a file is uncompressed Parquet."""
    with Path(source).open("rb") as handle:
        return handle.read(4) == b"PAR1"


def _from_arrays(ids: list[str], vectors: npt.NDArray[Any], name: str, what: str) -> EmbeddingTable:
    names = checked_ids(ids, name)
    values = checked_vectors(vectors, name, names.__getitem__)
    taken = [Taken(what, "features", "by content")]
    return EmbeddingTable(name, names, values.shape[1], vectors=values, column=what, taken=taken)


def _from_parquet(files: list[Path], name: str, options: ColumnOptions) -> EmbeddingTable:
    """Return the table of Parquet files with the same schema: streamed if it has a column of vectors, else in memory."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not files:
        raise BadInputError(f"{name} has no rows", fix="check the command that wrote it")
    with tables.explained(name):
        arrow = pq.read_schema(files[0])
    for path in files:
        note_input(path)
        with tables.explained(str(path)):
            tables.check_columns(pq.read_metadata(path), path.stat().st_size, str(path))
    schema = tables.arrow_frame(arrow.empty_table(), name).schema
    metadata = tables.read_parquet_metadata(files[0])
    ids = id_column(schema, name, options)
    if {"position", "residue", "embedding"} <= set(schema):
        return _residues(files, name, metadata)
    chosen, taken = feature_columns(schema, ids.column, name, options)
    if len(chosen) > 1 or not isinstance(schema[chosen[0]], pl.List | pl.Array):
        parts = []
        for path in files:
            with tables.explained(str(path)):
                parts.append(pq.read_table(path, columns=[ids.column, *chosen], page_checksum_verification=True))
        with tables.explained(name):
            whole = pa.concat_tables(parts)
        return _table(tables.arrow_frame(whole, name), name, ids, chosen, taken, metadata)
    found: list[str] = []
    kind = schema[chosen[0]]
    dimension = kind.shape[0] if isinstance(kind, pl.Array) and len(kind.shape) == 1 else 0
    for path in files:
        for batch in batches_of(path, [ids.column]):
            found += batch.column(0).to_pylist()
        if not dimension and found:  # lists of any length: that of the first row
            first = next(batches_of(path, chosen)).column(0).slice(0, 1)
            dimension = vectors_of(first, str(path), [str(found[0])], None).shape[1]
    names = checked_ids(found, name)
    return EmbeddingTable(name, names, dimension, metadata, files, column=chosen[0], taken=[ids, *taken])


def _residues(files: list[Path], name: str, metadata: dict[str, str]) -> EmbeddingTable:
    if len(files) > 1 or str(files[0]) != name:
        raise BadInputError(
            f"{name} contains embeddings of residues in parts",
            fix="write them as one table ('phylocli embed --per-residue -o residues.parquet')",
        )
    residues = ResidueTable(files[0])
    ids, vectors = residues.pooled()
    taken = [Taken("embedding", "features", "of residues: their means represent the sequences")]
    return EmbeddingTable(name, ids, vectors.shape[1], metadata, vectors=vectors, residues=residues, taken=taken)


def _from_frame(
    frame: pl.DataFrame, name: str, options: ColumnOptions, metadata: dict[str, str] | None = None
) -> EmbeddingTable:
    if frame.height == 0:
        raise BadInputError(f"{name} has no rows", fix="check the command that wrote it")
    ids = id_column(frame.schema, name, options)
    if "position" in frame.columns and "residue" in frame.columns:
        raise BadInputError(
            f"{name} contains embeddings of residues in a format that cannot be streamed",
            fix="write them as Parquet ('phylocli embed --per-residue -o residues.parquet')",
        )
    chosen, taken = feature_columns(frame.schema, ids.column, name, options)
    return _table(frame, name, ids, chosen, taken, metadata or {})


def _table(
    frame: pl.DataFrame, name: str, ids: Taken, chosen: list[str], taken: list[Taken], metadata: dict[str, str]
) -> EmbeddingTable:
    """Return an in-memory table of a polars frame."""
    import polars as pl

    names = checked_ids(frame[ids.column].cast(pl.String).to_list(), name)
    kind = frame.schema[chosen[0]]
    if isinstance(kind, pl.List | pl.Array):
        vectors = vectors_of(frame[chosen[0]].to_arrow(), name, names, None)
    elif kind.is_numeric():
        vectors = _columns_of(frame[chosen], name, names)  # `select` would take the name * for all columns
    else:
        vectors = _vectors_of_texts(frame[chosen[0]], name, names)
    return EmbeddingTable(name, names, vectors.shape[1], metadata, vectors=vectors, column=span(chosen), taken=[ids, *taken])


def _columns_of(frame: pl.DataFrame, name: str, ids: list[str]) -> FloatArray:
    import polars as pl

    for column in frame:
        if column.null_count():
            at = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise BadInputError(
                f"{name}: the embedding of {shorten(ids[at])!r} has no value in the column {column.name!r}",
                fix="fill it, remove the row, or exclude the column with --features",
            )
    return checked_vectors(frame.select(pl.all().cast(pl.Float64)).to_numpy(), name, ids.__getitem__)


def _vectors_of_texts(series: pl.Series, name: str, ids: list[str]) -> FloatArray:
    """Parse vectors from strings of numbers separated by blanks, commas, semicolons or brackets; (n, D)."""
    import polars as pl

    texts = texts_of(series).alias("")
    if texts.null_count():
        at = int(np.flatnonzero(texts.is_null().to_numpy())[0])
        raise BadInputError(f"{name}: the embedding of {shorten(ids[at])!r} is missing", fix="remove the row")
    words = texts.str.replace_all(r"[\[\](){},;\s]+", " ").str.strip_chars(" ").str.split(" ")
    numbers = words.list.eval(pl.element().cast(pl.Float32, strict=False)).list.eval(pl.element().fill_null(float("nan")))
    return vectors_of(numbers.to_arrow(), name, ids, None)
