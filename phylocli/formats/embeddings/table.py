"""`EmbeddingTable`: ids and vectors from any source, in memory or streamed from Parquet."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import TableFormat, embeddings_schema, explained, write_table
from phylocli.formats.tables.columns import Taken

if TYPE_CHECKING:
    import polars as pl

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BLOCK = 65_536
"""Rows of a table per block."""


def unit(vectors: npt.NDArray[np.generic]) -> FloatArray:
    """Return rows (n, D) scaled to length 1; zero rows stay zero."""
    values = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norm > 0, norm, 1), dtype=np.float32)


@dataclass
class EmbeddingTable:
    """A table of n embeddings with D features.

    Attributes:
        name: the name of the table in messages: its path.
        ids: the ids of the rows, in order; unique.
        dimension: the number of features D.
        metadata: key–value metadata: `phylocli.model` (fingerprint), `phylocli.pooling`, `phylocli.layer`, …
        files: Parquet files to stream from, in order; empty if all vectors are in memory.
        vectors: the vectors (n, D), if in memory.
        column: the column of `files` with the vectors.
        unit: whether rows are unit vectors: `vectors` is already scaled; streamed rows are scaled when they are read.
        lengths: the lengths of the sequences in residues; None if unknown.
        residues: the residue embeddings, if the table has them; the rows are then their means.
        taken: the interpretation of each column.

    Examples:
        >>> table = phylocli.load_model("default").embed(["MKTAYIAKQR", "MKVLA"])
        >>> table.ids, table.dimension
        (['seq1', 'seq2'], 1024)
        >>> table.write("embeddings.parquet")
        >>> len(phylocli.read_embeddings("embeddings.parquet"))
        2
    """

    name: str
    ids: list[str]
    dimension: int
    metadata: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    vectors: FloatArray | None = None
    column: str = "embedding"
    unit: bool = False
    lengths: list[int] | None = None
    residues: ResidueTable | None = None
    taken: list[Taken] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def title(self) -> str:
        """The name of the file without suffixes; `embedding` for standard input."""
        return "embedding" if self.name == "standard input" else Path(self.name).name.split(".", 1)[0]

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield blocks of consecutive rows as (index of the first row, vectors (b, D)).

        Raises:
            BadInputError: a file is damaged, or an embedding is missing, of another length or not finite.
        """
        if self.vectors is not None:
            for start in range(0, len(self.vectors), BLOCK):
                yield start, self.vectors[start : start + BLOCK]
            return
        start = 0
        for path in self.files:
            for batch in batches_of(path, [self.column]):
                here = self.ids[start : start + len(batch)]
                vectors = vectors_of(batch.column(0), str(path), here, self.dimension)
                yield start, unit(vectors) if self.unit else vectors
                start += len(vectors)

    def take(self, rows: SequenceOf[int] | IntArray) -> FloatArray:
        """Return the vectors of the given rows, (len(rows), D), in the given order; the table is read once."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.dimension), dtype=np.float32)
        for start, vectors in self.blocks():
            here = (wanted >= start) & (wanted < start + len(vectors))
            found[here] = vectors[wanted[here] - start]
        return found

    def numpy(self) -> FloatArray:
        """Return all vectors, (n, D)."""
        if self.vectors is None:
            whole = np.empty((len(self), self.dimension), dtype=np.float32)
            for start, vectors in self.blocks():
                whole[start : start + len(vectors)] = vectors
            self.vectors = whole
        return self.vectors

    def vectors_for(self, ids: SequenceOf[str]) -> FloatArray:
        """Return the vectors of the given ids, (len(ids), D), in the given order."""
        at = {name: row for row, name in enumerate(self.ids)}
        return self.take([at[name] for name in ids])

    def to_polars(self) -> pl.DataFrame:
        """Return the table as a frame with the columns `id`, `length` (null: unknown) and `embedding`."""
        import polars as pl

        vectors = pl.Series(self.numpy(), dtype=pl.Array(pl.Float32, self.dimension))
        lengths = pl.Series(self.lengths or [None] * len(self), dtype=pl.Int32)
        return pl.DataFrame({"id": pl.Series(self.ids, dtype=pl.String), "length": lengths, "embedding": vectors})

    def write(self, path: PathLike, format: TableFormat | None = None) -> None:
        """Write the table; the format is given by `format` or by the suffix (see `TableFormat`)."""
        write_table(self.to_polars(), path, embeddings_schema(self.dimension, metadata=self.metadata), format)


@dataclass
class ResidueTable:
    """A Parquet table of residue embeddings (`tables.residues_schema`); only requested rows are read."""

    path: PathLike

    def __call__(self, ids: SequenceOf[str]) -> list[FloatArray]:
        """Return the residue embeddings of the given sequences: per id, an array (L, D) in the order of positions."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted, columns = pc.field("id").isin(list(ids)), ["id", "position", "embedding"]
        with explained(str(self.path)):
            rows = pq.read_table(self.path, columns=columns, filters=wanted, page_checksum_verification=True)
            rows = rows.sort_by([("id", "ascending"), ("position", "ascending")])
        names = np.array(rows.column("id").to_pylist(), dtype=object)
        values = vectors_of(rows.column("embedding"), str(self.path), names.tolist(), None)
        found: dict[str, FloatArray] = {}
        edges = [*np.flatnonzero(np.r_[True, names[1:] != names[:-1]]).tolist(), len(names)] if len(names) else [0]
        for start, stop in pairwise(edges):
            found[str(names[start])] = values[start:stop]
        return [found[name] for name in ids]

    def pooled(self) -> tuple[list[str], FloatArray]:
        """Return all ids, in the order of the table, and the mean residue embedding of each, (n, D).

        Raises:
            BadInputError: the file is damaged or has no rows, an id or embedding is missing, or values are not finite.
        """
        sums: dict[str, npt.NDArray[np.float64]] = {}
        counts: dict[str, int] = {}
        width: int | None = None
        for batch in batches_of(self.path, ["id", "embedding"]):
            names = np.array(checked_ids(batch.column("id").to_pylist(), str(self.path), unique=False), dtype=object)
            values = vectors_of(batch.column("embedding"), str(self.path), names.tolist(), width).astype(np.float64)
            width = values.shape[1]
            edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1]])
            totals = np.add.reduceat(values, edges, axis=0)
            sizes = np.diff(np.r_[edges, len(names)])
            for name, total, size in zip(names[edges], totals, sizes, strict=True):
                sums[name] = sums[name] + total if name in sums else total
                counts[name] = counts.get(name, 0) + int(size)
        if not sums:
            raise BadInputError(f"{self.path} has no rows", fix="check the command that wrote it")
        return list(sums), np.stack([sums[n] / counts[n] for n in sums]).astype(np.float32)


def batches_of(path: PathLike, columns: list[str], rows: slice | None = None) -> Iterator[Any]:
    """Yield the non-empty record batches of some columns of a Parquet file: `BLOCK` rows each, but for the last.

    Args:
        path: the file.
        columns: names of the columns.
        rows: only these; row groups without any of them are not read. None: all.

    Raises:
        BadInputError: the file is damaged.
    """
    import pyarrow.parquet as pq

    with explained(str(path)):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    with file:
        chosen, skipped, count = None, 0, file.metadata.num_rows
        if rows is not None:
            start, stop, _ = rows.indices(count)
            edges = row_groups_of(file.metadata)
            chosen = [n for n, (low, high) in enumerate(pairwise(edges)) if low < stop and start < high]
            skipped, count = (start - edges[chosen[0]] if chosen else 0), max(0, stop - start)
        batches = file.iter_batches(batch_size=BLOCK, row_groups=chosen, columns=columns)
        yield from _trimmed(_read(batches, str(path)), skipped, count)


def row_groups_of(metadata: Any) -> list[int]:
    """Return the first row of each row group of a Parquet file, and at the end the number of rows."""
    sizes = (metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))
    return list(itertools.accumulate(sizes, initial=0))


def _read(batches: Iterator[Any], name: str) -> Iterator[Any]:
    while True:
        with explained(name):
            batch = next(batches, None)
            if batch is not None:
                batch.validate(full=True)  # also that text is UTF-8
        if batch is None:
            return
        yield batch


def _trimmed(batches: Iterator[Any], skipped: int, count: int) -> Iterator[Any]:
    """Yield `count` rows after the first `skipped`, again in batches of `BLOCK` rows."""
    import pyarrow as pa

    rest = None
    for batch in batches:
        here, skipped = batch.slice(min(skipped, len(batch))), max(0, skipped - len(batch))
        if rest:
            here = pa.Table.from_batches([rest, here]).combine_chunks().to_batches()[0]
        while count and len(here) >= min(BLOCK, count):
            block = here.slice(0, min(BLOCK, count))
            here, count = here.slice(len(block)), count - len(block)
            yield block
        rest = here


def checked_ids(ids: SequenceOf[Any], name: str, *, unique: bool = True) -> list[str]:
    """Return ids as strings, stripped of blanks.

    Raises:
        BadInputError: a row has no id; or, if `unique`, an id occurs twice.
    """
    texts = ["" if i is None else str(i).strip() for i in ids]
    if "" in texts:
        raise BadInputError(f"{name}: row {texts.index('') + 1} has no id", fix="give every row an id, or remove it")
    if unique and len(set(texts)) < len(texts):
        seen: set[str] = set()
        twice = next(i for i in texts if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise BadInputError(
            f"{name}: the id {shorten(twice)!r} occurs twice",
            fix="keep one row per id, or name another id column with --id-column",
        )
    return texts


def checked_vectors(vectors: npt.NDArray[Any], name: str, id_of: Callable[[int], str]) -> FloatArray:
    """Return vectors (n, D) as float32.

    Raises:
        BadInputError: values are not finite, or not in the range of float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.ascontiguousarray(vectors, dtype=np.float32)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        at = int(np.flatnonzero(~finite)[0])
        raise BadInputError(
            f"{name}: the embedding of {shorten(id_of(at))!r} has values that are not numbers",
            why=f"{int((~finite).sum())} of {len(values)} rows are not finite",
            fix="remove such rows, or compute their embeddings again",
        )
    return values


def vectors_of(column: Any, name: str, ids: SequenceOf[str], width: int | None) -> FloatArray:
    """Convert an Arrow column of lists of numbers to vectors (n, D), float32.

    Args:
        column: an array or chunked array.
        name: the name of the file, for messages.
        ids: the ids of the rows.
        width: the expected dimension D; None: the dimension of the first row.

    Raises:
        BadInputError: embeddings are missing, of different lengths, or not finite.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if column.null_count:
        at = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadInputError(f"{name}: the embedding of {shorten(str(ids[at]))!r} is missing", fix="remove the row")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    wanted = int(width if width is not None else lengths[0] if len(lengths) else 0)
    other = np.flatnonzero(lengths != wanted)
    if len(other) or wanted == 0:
        low, high = (min(wanted, *lengths.tolist()), max(wanted, *lengths.tolist())) if len(lengths) else (0, 0)
        raise BadInputError(
            f"{name}: the embeddings have different lengths ({low} to {high})"
            if high
            else f"{name}: the embeddings are empty",
            why=f"the embedding of {shorten(str(ids[int(other[0])]))!r} has {int(lengths[other[0]])} features"
            if len(other)
            else None,
            fix="pool residues to one vector per sequence first (phylocli embed without --per-residue)",
        )
    flat = column.flatten()
    with explained(name):
        numbers = flat.to_numpy(zero_copy_only=False)
    return checked_vectors(numbers.reshape(len(column), wanted), name, lambda row: str(ids[row]))
