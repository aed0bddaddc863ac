"""The table that is searched, in bounded memory: unit vectors block by block, ids when they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.errors import BadInputError
from phylocli.formats.parts import is_parts, part_files
from phylocli.formats.streams import PathLike, note_input
from phylocli.formats.tables import read_parquet_metadata

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BLOCK = 65_536
"""Rows of a table that are read at once."""


def unit(vectors: npt.NDArray[np.generic]) -> FloatArray:
    """Return rows (n, D) scaled to length 1; zero rows stay zero."""
    values = np.asarray(vectors, dtype=np.float32)
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(norm > 0, norm, 1), dtype=np.float32)


@dataclass
class Table:
    """A table of embeddings to search in.

    Attributes:
        name: as messages call it.
        ids: of all rows, in order.
        dimension: features D.
        metadata: what the table says of itself: `phylocli.model` (fingerprint), `phylocli.pooling`, `phylocli.layer`, …
        files: Parquet files to stream from, in order; empty where `vectors` holds everything.
        vectors: unit rows (n, D), where the table is not streamed.
    """

    name: str
    ids: list[str]
    dimension: int
    metadata: dict[str, str]
    files: list[Path] = field(default_factory=list)
    vectors: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[tuple[int, FloatArray]]:
        """Yield (number of the first row, unit vectors (b, D)) of consecutive rows.

        Raises:
            BadInputError: a value that is not finite.
        """
        if self.vectors is not None:
            for start in range(0, len(self.vectors), BLOCK):
                yield start, self.vectors[start : start + BLOCK]
            return
        import pyarrow.parquet as pq

        start = 0
        for path in self.files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BLOCK, columns=["embedding"]):
                    column = batch.column(0)
                    flat = column.flatten().to_numpy(zero_copy_only=False)
                    vectors = unit(flat.reshape(len(column), -1))
                    if not np.isfinite(vectors).all():
                        row = start + int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
                        raise BadInputError(f"{path}: the embedding of {self.ids[row]!r} holds values that are not numbers")
                    yield start, vectors
                    start += len(vectors)

    def take(self, rows: SequenceOf[int] | IntArray) -> FloatArray:
        """Return the unit vectors of some rows, (len(rows), D), in the order given; the table is read once."""
        wanted = np.asarray(rows, dtype=np.int64)
        found = np.empty((len(wanted), self.dimension), dtype=np.float32)
        for start, vectors in self.blocks():
            here = (wanted >= start) & (wanted < start + len(vectors))
            found[here] = vectors[wanted[here] - start]
        return found


def open_table(source: PathLike) -> Table:
    """Open a table of embeddings: Parquet, or a folder of parts, is streamed; other formats are read whole.

    Raises:
        BadInputError: no such table, one of residues, no rows, duplicate ids.
    """
    if is_parts(source):
        files = part_files(source)
    elif _is_parquet(source):
        files = [Path(source)]
    else:
        return _whole(source)
    return _streamed(str(source), files)


def _is_parquet(source: PathLike) -> bool:
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def _streamed(name: str, files: list[Path]) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids: list[str] = []
    try:
        schema = pq.read_schema(files[0]) if files else pa.schema([])
        if {"position", "residue"} <= set(schema.names):
            raise BadInputError(
                f"{name} holds embeddings of residues", fix="search one vector a sequence: embed without --per-residue"
            )
        kind = schema.field("embedding").type if {"id", "embedding"} <= set(schema.names) else None
        if kind is None or not pa.types.is_fixed_size_list(kind):
            return _whole(name)
        for path in files:
            note_input(path)
            ids += pq.read_table(path, columns=["id"]).column("id").to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{name} cannot be read as Parquet", why=str(error).split("\n", 1)[0]) from error
    if not ids:
        raise BadInputError(f"{name} holds no rows")
    if len(set(ids)) < len(ids):
        raise BadInputError(f"{name}: ids occur twice", fix="keep one row an id")
    return Table(name, ids, kind.list_size, read_parquet_metadata(files[0]), files)


def _whole(source: PathLike) -> Table:
    from phylocli.probe.embeddings import read_embeddings

    found = read_embeddings(source)
    if found.residues is not None:
        raise BadInputError(
            f"{source} holds embeddings of residues", fix="search one vector a sequence: embed without --per-residue"
        )
    return Table(str(source), found.ids, found.vectors.shape[1], found.metadata, vectors=unit(found.vectors))
