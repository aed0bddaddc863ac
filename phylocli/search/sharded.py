"""Search in pieces, in processes or on a cluster: slices of the queries times shards of the targets, merged exactly.

A piece returns the best keys of its queries among the rows of its shard (`exact.best_keys`). Blocks of rows and slices of
queries have the sizes of a search in one process, so that the products, and with them the hits, are the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from phylocli.config.parallel import ParallelConfig
from phylocli.core import console
from phylocli.core.threads import limit_threads
from phylocli.executors import Work, run_all
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import STEP, Block, Neighbours, best_keys, neighbours_of, table_blocks
from phylocli.search.indices.quantised import BLOCK, Codes, Layout, mapped

QUERIES_EACH = 16 * STEP
"""Number of queries of a piece."""

ROWS_EACH = 4 * BLOCK
"""Number of rows of a piece, or those of a file that has more."""


class Shard(Protocol):
    """Consecutive rows of the targets, in a file that workers see."""

    def blocks(self, queries: FloatArray) -> Iterator[Block]:
        """Yield blocks of rows, numbered as in the whole table."""


@dataclass(frozen=True)
class TableShard:
    """Files of a table.

    Attributes:
        table: of these files only.
        first: number of its first row in the whole table.
    """

    table: EmbeddingTable
    first: int

    def blocks(self, queries: FloatArray) -> Iterator[Block]:
        """Yield blocks of rows, numbered as in the whole table."""
        return table_blocks(self.table, queries, self.first)


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
class _Piece:
    queries: FloatArray
    leave_out: IntArray | None
    count: int
    shard: Shard


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
    shards = _table_shards(table)
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
    shards = [CodesShard(path, codes.layout, slice(start, start + ROWS_EACH)) for start in range(0, rows, ROWS_EACH)]
    count = codes.candidates(k)
    keys = _keys(queries, min(count, rows), shards, parallel, leave_out, threads)
    return codes.rescored(queries, neighbours_of(keys, count).rows, k)


def _table_shards(table: EmbeddingTable) -> list[TableShard]:
    import pyarrow.parquet as pq

    sizes = [pq.read_metadata(path).num_rows for path in table.files]
    found: list[TableShard] = []
    files: list[Path] = []
    first = last = 0
    for path, size in zip(table.files, sizes, strict=True):
        if files and last + size - first > ROWS_EACH:
            found.append(TableShard(replace(table, ids=table.ids[first:last], files=files), first))
            files, first = [], last
        files = [*files, path.resolve()]
        last += size
    return [*found, TableShard(replace(table, ids=table.ids[first:last], files=files), first)]


def _keys(
    queries: FloatArray,
    count: int,
    shards: Sequence[Shard],
    parallel: ParallelConfig,
    leave_out: IntArray | None,
    threads: int,
) -> IntArray:
    """Return the best keys of each query, (n, count), among all shards."""
    slices = [slice(first, first + QUERIES_EACH) for first in range(0, len(queries), QUERIES_EACH)]

    def pieces() -> Iterator[tuple[str, _Piece]]:
        for part in slices:
            own = None if leave_out is None else leave_out[part]
            for number, shard in enumerate(shards, 1):
                label = f"queries from {part.start + 1} in shard {number} of {len(shards)}"
                yield label, _Piece(queries[part], own, count, shard)

    work = Work(
        _search,
        functools.partial(limit_threads, threads or parallel.threads_each),
        level=console.QUIET,
        unit="pieces",
        fix="use fewer --jobs, or workers with more memory",
    )
    total = len(slices) * len(shards)
    found = run_all(work, pieces(), jobs=parallel.jobs, cluster=parallel.cluster, title="searching", total=total)
    keys = np.full((len(queries), count), -1, dtype=np.int64)
    for part in slices:
        for _ in shards:
            both = np.concatenate([keys[part], next(found)], axis=1)
            keys[part] = -np.sort(-both, axis=1)[:, :count]
    for _ in found:  # none is left; this ends the workers
        raise AssertionError
    return keys


def _search(piece: _Piece) -> IntArray:
    return best_keys(len(piece.queries), piece.count, piece.shard.blocks(piece.queries), piece.leave_out)
