"""Search of memory-mapped codes, for tables larger than memory: all codes are compared, and the nearest are rescored.

The file beside the table has, for each row, its code and its vector. Codes are of unit vectors: float16 numbers; int8
numbers, with a scale for each feature; or bits, whether a feature is above its mean, compared by Hamming distance (as in the
embedding quantisation of sentence-transformers). The candidates with the best codes are compared by their vectors, as in
`exact.nearest`, up to rounding; what is not among the candidates is missed, so the recall is measured when the file is made.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.formats.streams import atomic_path
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import SCALE, Block, Neighbours, best_rows
from phylocli.search.indices.files import index_path, measured_recall, recorded_recall, report_damage, write_record

Kind = Literal["float16", "int8", "binary"]

CANDIDATES: dict[Kind, tuple[int, int]] = {"float16": (2, 32), "int8": (4, 100), "binary": (20, 500)}
"""Number of candidates of a query: so many times the number of neighbours, and at least so many."""

BLOCK = 65_536
"""Rows of a block, for which the file has one checksum."""

RESCORED = 1 << 24
"""Maximum number of features of candidates in memory (64 MB)."""

_ALIGNED = 64
"""Arrays of the file begin at multiples of so many bytes."""


class DamagedCodesError(BadInputError):
    """The file of codes has changed since it was made."""


@dataclass(frozen=True)
class Layout:
    """What the places of arrays in a file of codes depend on.

    Attributes:
        kind: of the codes.
        rows: number of rows of the table, n.
        dimension: number of features D.
        precision: of the vectors, the table's: float16 or float32.
    """

    kind: Kind
    rows: int
    dimension: int
    precision: str

    @classmethod
    def of(cls, table: EmbeddingTable, kind: Kind) -> Layout:
        """Return the layout for a table that is streamed from Parquet."""
        import pyarrow.parquet as pq

        field = pq.read_schema(table.files[0]).field(table.column)
        precision = "float16" if str(field.type.value_type) == "halffloat" else "float32"
        return cls(kind, len(table), table.dimension, precision)


@dataclass(frozen=True)
class Codes:
    """The codes of a table.

    Attributes:
        layout: of the file.
        parameter: of each feature, shape (D,): the scale of int8 codes, or the mean that bits are compared with.
        path: the file.
        codes: (n, D) numbers, or (n, ⌈D / 64⌉) words of bits.
        vectors: the vectors, (n, D), in the precision of the table.
        block_checks: checksums of the codes of each block, which are compared when they are read.
        row_checks: checksums of the vectors, (n,).
    """

    layout: Layout
    path: Path
    parameter: FloatArray
    codes: npt.NDArray[Any]
    vectors: npt.NDArray[Any]
    block_checks: npt.NDArray[np.uint32]
    row_checks: npt.NDArray[np.uint32]

    def nearest(self, queries: FloatArray, k: int, *, leave_out: IntArray | None = None) -> Neighbours:
        """Return the k nearest rows by cosine, but for those that are not among the candidates; see `exact.nearest`.

        Raises:
            DamagedCodesError: the file is damaged.
        """
        found = best_rows(
            len(queries), len(self.codes), self.candidates(k), lambda part: self.blocks(queries[part]), leave_out
        )
        return self.rescored(queries, found.rows, k)

    def candidates(self, k: int) -> int:
        """Return the number of candidates for k neighbours."""
        factor, least = CANDIDATES[self.layout.kind]
        return max(factor * k, least)

    def blocks(self, asked: FloatArray, rows: slice = slice(None)) -> Iterator[Block]:
        """Yield the blocks of codes, with the scores of queries.

        Args:
            asked: unit vectors (n, D).
            rows: only these; they begin with a block.

        Raises:
            DamagedCodesError: a checksum does not match.
        """
        for start in range(*rows.indices(len(self.codes))[:2], BLOCK):
            codes = np.asarray(self.codes[start : start + BLOCK])
            self._check(_checksum(codes) == self.block_checks[start // BLOCK])
            if self.layout.kind == "binary":
                yield start, len(codes), functools.partial(self._agreement, bits(asked, self.parameter), codes)
            else:
                scaled = asked * self.parameter
                columns = torch.from_numpy(codes.astype(np.float32)).T
                yield start, len(codes), functools.partial(_products, scaled, columns)

    def _agreement(self, asked: npt.NDArray[np.uint64], codes: npt.NDArray[np.uint64], part: slice) -> Tensor:
        """Return 1 − 2 h / D for Hamming distances h, between −1 and 1 as cosines are."""
        different = np.stack([np.bitwise_count(codes ^ query).sum(1, dtype=np.int32) for query in asked[part]])
        return torch.from_numpy(1 - different.astype(np.float32) * (2 / len(self.parameter)))

    def rescored(self, queries: FloatArray, candidates: IntArray, k: int) -> Neighbours:
        """Return the k nearest of the candidates, (n, c), of each query by their vectors.

        Raises:
            DamagedCodesError: a checksum does not match.
        """
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        cosines = np.full((len(queries), k), -np.inf, dtype=np.float32)
        step = max(1, RESCORED // max(1, candidates.shape[1] * len(self.parameter)))
        for first in range(0, len(queries), step):
            part = slice(first, first + step)
            wanted, place = np.unique(candidates[part], return_inverse=True)
            read = self.vectors[wanted]  # each row once, in order
            self._check(np.array_equal([_checksum(row) for row in read], self.row_checks[wanted]))
            vectors = unit(read)[place.reshape(candidates[part].shape)]
            exact = np.matmul(vectors, queries[part][:, :, None])[..., 0]
            exact = np.round(np.clip(exact, -1, 1) * SCALE) / SCALE
            exact[candidates[part] < 0] = -np.inf
            order = np.lexsort((candidates[part], -exact), axis=1)[:, :k]
            width = order.shape[1]
            cosines[part, :width] = np.take_along_axis(exact, order, axis=1)
            found = np.take_along_axis(candidates[part], order, axis=1)
            rows[part, :width] = np.where(np.isfinite(cosines[part, :width]), found, -1)
        return Neighbours(rows, cosines)

    def _check(self, sound: bool | np.bool_) -> None:
        if not sound:
            raise DamagedCodesError(f"{self.path} is damaged", why="a checksum does not match", fix="remove it")


def bits(vectors: FloatArray, mean: FloatArray) -> npt.NDArray[np.uint64]:
    """Return whether each feature is above its mean, as bits of words, (n, ⌈D / 64⌉)."""
    packed = np.packbits(vectors > mean, axis=1)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8))).view(np.uint64)


def _checksum(array: npt.NDArray[Any]) -> int:
    return crc32(np.ascontiguousarray(array).data)


def _products(queries: FloatArray, columns: Tensor, part: slice) -> Tensor:
    return torch.from_numpy(queries[part]) @ columns


def open_codes(table: EmbeddingTable, kind: Kind) -> Codes:
    """Open the codes of a table; make them if they are missing, incomplete or belong to another table.

    Args:
        table: a table streamed from a Parquet file or a folder of parts.
        kind: of the codes.
    """
    path, layout = index_path(table, kind), Layout.of(table, kind)

    def checksum(path: Path) -> str:
        """Return a checksum of what has none in the file, and so of all of it."""
        codes, found = mapped(path, layout), hashlib.sha256()
        for array in (codes.parameter, codes.block_checks, codes.row_checks):
            found.update(array.data)
        return found.hexdigest()

    if recorded_recall(path, table, checksum) is None:
        with atomic_path(path, wait=True) as part:  # two searches may make it at the same time
            codes = _encode(table, layout, part)
            recall = measured_recall(table, lambda queries, k: codes.nearest(queries, k).rows)
            write_record(path, part, table, recall, checksum)
    return mapped(path, layout)


def nearest_by_codes(table: EmbeddingTable, kind: Kind, search: Callable[[Codes], Neighbours]) -> Neighbours:
    """Search the codes of a table; those that turn out to be damaged are made again.

    Args:
        table: see `open_codes`.
        kind: of the codes.
        search: returns the neighbours, such as by `Codes.nearest`.
    """
    codes = open_codes(table, kind)
    try:
        return search(codes)
    except DamagedCodesError as error:
        report_damage(codes.path, error.why or "")
        codes.path.unlink(missing_ok=True)
        return search(open_codes(table, kind))


def _encode(table: EmbeddingTable, layout: Layout, path: Path) -> Codes:
    """Write the codes of a table; return them."""
    made, kind = mapped(path, layout, new=True), layout.kind
    raw = replace(table, unit=False)
    total, largest = np.zeros(table.dimension), np.zeros(table.dimension, dtype=np.float32)
    with console.progress_task(f"encoding as {kind}", 2 * len(table), unit="rows") as bar:
        for _, vectors in raw.blocks():
            scaled = unit(vectors)
            total += scaled.sum(axis=0, dtype=np.float64)
            largest = np.maximum(largest, np.abs(scaled).max(axis=0))
            bar.advance(len(vectors))
        if kind == "binary":
            made.parameter[:] = total / len(table)
        else:
            made.parameter[:] = np.where(largest > 0, largest / 127, 1) if kind == "int8" else 1
        for start, vectors in raw.blocks():
            here = slice(start, start + len(vectors))
            scaled = unit(vectors)
            if kind == "binary":
                made.codes[here] = bits(scaled, made.parameter)
            elif kind == "int8":
                made.codes[here] = np.round(scaled / made.parameter)
            else:
                made.codes[here] = scaled
            made.vectors[here] = vectors
            made.row_checks[here] = [_checksum(row) for row in made.vectors[here]]
            bar.advance(len(vectors))
    made.block_checks[:] = [_checksum(made.codes[start : start + BLOCK]) for start in range(0, len(table), BLOCK)]
    return made


def mapped(path: Path, layout: Layout, *, new: bool = False) -> Codes:
    """Return the arrays of the file.

    Raises:
        OSError: there is no space for a new file.
    """
    n, dimension = layout.rows, layout.dimension
    is_binary = layout.kind == "binary"
    shapes = [
        ((dimension,), np.dtype(np.float32)),
        ((n, -(-dimension // 64)), np.dtype(np.uint64)) if is_binary else ((n, dimension), np.dtype(layout.kind)),
        ((n, dimension), np.dtype(layout.precision)),
        ((-(-n // BLOCK),), np.dtype(np.uint32)),
        ((n,), np.dtype(np.uint32)),
    ]
    sizes = [int(np.prod(shape)) * dtype.itemsize for shape, dtype in shapes]
    starts = np.cumsum([0, *(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]).tolist()
    if new:
        with path.open("wb") as file:
            file.truncate(starts[-1])
            if hasattr(os, "posix_fallocate"):  # else, a full disk would end the process by SIGBUS when the map is written
                os.posix_fallocate(file.fileno(), 0, starts[-1])
    whole = np.memmap(path, dtype=np.uint8, mode="r+" if new else "r", shape=(starts[-1],))
    parts = (whole[start : start + size] for start, size in zip(starts[:-1], sizes, strict=True))
    arrays = [part.view(dtype).reshape(shape) for part, (shape, dtype) in zip(parts, shapes, strict=True)]
    return Codes(layout, path, *arrays)
