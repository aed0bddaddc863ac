"""Search in pieces, in processes or on a cluster: slices of the queries times shards of the targets, merged exactly.

A piece returns the best keys of its queries among the rows of its shard (`exact.best_keys`). Blocks of rows and slices of
queries have the sizes of a search in one process, so that the products, and with them the hits, are the same. There are as
many pieces as workers or more, if the blocks and the row groups of the files allow it.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from phylocli.config.parallel import ParallelConfig
from phylocli.core import console
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats.embeddings import EmbeddingTable, unit
from phylocli.formats.embeddings.table import batches_of, row_groups_of, vectors_of
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import STEP, Block, Neighbours, best_keys, block_of, neighbours_of
from phylocli.search.indices.quantised import BLOCK, Codes, Layout, mapped

QUERIES_EACH = 16 * STEP
"""Maximum number of queries of a piece."""

SENT = 1 << 28, 1 << 26
"""Maximum bytes of queries that are sent to each worker at once, before its pieces: to processes, and on a cluster, whose
scheduler also holds them. More queries are searched one group after another."""

ROWS_EACH = 4 * BLOCK
"""Maximum number of rows of a piece, unless a file cannot be divided."""


class Shard(Protocol):
    """Consecutive rows of the targets, in a file that workers see."""

    def blocks(self, queries: FloatArray) -> Iterator[Block]:
        """Yield blocks of rows, numbered as in the whole table."""


@dataclass(frozen=True)
class TableShard:
    """Rows of Parquet files.

    Attributes:
        parts: the files, and which of their rows.
        first: number of the first row in the whole table.
        column: of the files, with the vectors.
        dimension: number of features D.
    """

    parts: list[tuple[Path, slice]]
    first: int
    column: str
    dimension: int

    def blocks(self, queries: FloatArray) -> Iterator[Block]:
        """Yield blocks of rows, numbered as in the whole table."""
        start = self.first
        for path, rows in self.parts:
            at = rows.start + 1
            for batch in batches_of(path, [self.column], rows):
                names = [f"row {number}" for number in range(at, at + len(batch))]  # for messages, instead of ids
                vectors = unit(vectors_of(batch.column(0), str(path), names, self.dimension))
                yield block_of(start, vectors, queries)
                start, at = start + len(batch), at + len(batch)


@dataclass(frozen=True)
class CodesShard:
    """Rows of a file of codes."""

    path: Path
    layout: Layout
    rows: slice

    def blocks(self, queries: FloatArray) -> Iterator[Block]:
        """Yield blocks of rows, numbered as in the whole table."""
        return mapped(self.path, self.layout).blocks(queries, self.rows)


@dataclass(frozen=True)
class _Asked:
    """What all pieces of a group have in common, which every worker gets once.

    Attributes:
        queries: unit vectors (n, D).
        leave_out: see `exact.nearest`.
        count: number of keys of each query.
    """

    queries: FloatArray
    leave_out: IntArray | None
    count: int


_Piece = tuple[slice, Shard]


def nearest_in_pieces(
    queries: FloatArray,
    table: EmbeddingTable,
    k: int,
    parallel: ParallelConfig,
    *,
    leave_out: IntArray | None = None,
    threads: int = 0,
) -> Neighbours:
    """Return what `exact.nearest` returns.

    Args:
        queries, table, k, leave_out: see there. The table has Parquet files, which are its shards.
        parallel: where pieces are searched.
        threads: of each process or worker; 0 divides the cores among them.
    """
    shards = _table_shards(table, _rows_each(len(table), parallel.workers))
    return neighbours_of(_keys(queries, min(k, len(table)), shards, parallel, leave_out, threads), k)


def nearest_codes_in_pieces(
    queries: FloatArray,
    codes: Codes,
    k: int,
    parallel: ParallelConfig,
    *,
    leave_out: IntArray | None = None,
    threads: int = 0,
) -> Neighbours:
    """Return what `Codes.nearest` returns; candidates are rescored in this process. See `nearest_in_pieces`."""
    rows = len(codes.codes)
    path = codes.path.resolve()
    each = _rows_each(rows, parallel.workers)
    shards = [CodesShard(path, codes.layout, slice(start, start + each)) for start in range(0, rows, each)]
    count = codes.candidates(k)
    keys = _keys(queries, min(count, rows), shards, parallel, leave_out, threads)
    return codes.rescored(queries, neighbours_of(keys, count).rows, k)


def _rows_each(rows: int, workers: int) -> int:
    """Return the number of rows of a shard: whole blocks, and if possible few enough that each worker has a shard."""
    return min(ROWS_EACH, _multiple(BLOCK, rows / workers))


def _queries_each(queries: int, shards: int, workers: int) -> int:
    """Return the number of queries of a piece: whole steps, and if possible few enough that each worker has a piece."""
    return min(QUERIES_EACH, _multiple(STEP, queries / -(-workers // shards)))


def _multiple(unit: int, least: float) -> int:
    return unit * max(1, math.ceil(least / unit))


def _table_shards(table: EmbeddingTable, each: int) -> list[TableShard]:
    """Return shards of at most `each` rows, but for files that are not divided so finely."""
    shards: list[TableShard] = []
    parts: list[tuple[Path, slice]] = []
    first = count = 0
    for file in table.files:
        path = file.resolve()
        for start, stop in pairwise(_edges(path)):
            if parts and count + stop - start > each:
                shards.append(TableShard(parts, first, table.column, table.dimension))
                parts, first, count = [], first + count, 0
            count += stop - start
            begin = parts.pop()[1].start if parts and parts[-1][0] == path else start
            parts.append((path, slice(begin, stop)))
    return [*shards, TableShard(parts, first, table.column, table.dimension)]


def _edges(path: Path) -> list[int]:
    """Return the rows where a file may be divided, its first, and the number of rows.

    These are first rows of blocks, so that blocks are those of a search of the whole file, that are less than a block away
    from the first row of their row group, which is read from its beginning.
    """
    import pyarrow.parquet as pq

    groups = row_groups_of(pq.read_metadata(path))
    rows = groups[-1]
    at = [start for start in range(BLOCK, rows, BLOCK) if start - groups[bisect.bisect_right(groups, start) - 1] < BLOCK]
    return [0, *at, rows]


def _keys(
    queries: FloatArray,
    count: int,
    shards: Sequence[Shard],
    parallel: ParallelConfig,
    leave_out: IntArray | None,
    threads: int,
) -> IntArray:
    """Return the best keys of each query, (n, count), among all shards."""
    if not len(queries):
        return np.empty((0, count), dtype=np.int64)
    each = _queries_each(len(queries), len(shards), parallel.workers)
    size = each * max(1, SENT[parallel.cluster is not None] // (each * queries[:1].nbytes))
    groups = [slice(first, first + size) for first in range(0, len(queries), size)]
    return np.concatenate(
        [
            _keys_of_group(
                _Asked(queries[group], None if leave_out is None else leave_out[group], count),
                each,
                shards,
                parallel,
                threads,
            )
            for group in groups
        ]
    )


def _keys_of_group(asked: _Asked, each: int, shards: Sequence[Shard], parallel: ParallelConfig, threads: int) -> IntArray:
    slices = [slice(first, first + each) for first in range(0, len(asked.queries), each)]

    def pieces() -> Iterator[tuple[str, _Piece]]:
        for part in slices:
            for number, shard in enumerate(shards, 1):
                yield f"queries from {part.start + 1} in shard {number} of {len(shards)}", (part, shard)

    total = len(slices) * len(shards)
    used = parallel if parallel.cluster is not None else parallel.updated(jobs=max(1, min(parallel.workers, total)))
    work = Work(
        functools.partial(_search, asked),
        functools.partial(limit_threads, threads or used.threads_each),
        level=console.QUIET,
        unit="pieces",
        fix="use fewer --jobs, or workers with more memory",
    )
    found = run_all(work, pieces(), jobs=used.jobs, cluster=used.cluster, title="searching", total=total)
    keys = np.full((len(asked.queries), asked.count), -1, dtype=np.int64)
    for part in slices:
        for _ in shards:
            both = np.concatenate([keys[part], next(found)], axis=1)
            keys[part] = -np.sort(-both, axis=1)[:, : asked.count]
    for _ in found:  # none is left; this ends the workers
        raise AssertionError
    return keys


def _search(asked: _Asked, piece: _Piece) -> IntArray:
    part, shard = piece
    queries, own = asked.queries[part], None if asked.leave_out is None else asked.leave_out[part]
    return best_keys(len(queries), asked.count, shard.blocks(queries), own)
