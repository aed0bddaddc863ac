"""Exact nearest neighbours by cosine, block by block, with reproducible order of ties."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phylocli.core import console
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.search.database import FloatArray, IntArray

SCALE = 1 << 20
"""Cosines are rounded to multiples of 2⁻²⁰ (about 10⁻⁶), so that rounding errors of the matrix product do not change the
order; ties are in the order of the table. Integers up to 2²⁰ are exact in float32."""

STEP = 256
"""Number of queries of a matrix product, whose last digits may depend on it: the same in a search as a whole and in pieces.
With a block of 65,536 rows, there are 64 MB of cosines in memory."""

QUERIES = 64 * STEP
"""Number of queries per pass over the table."""


Block = tuple[int, int, Callable[[slice], Tensor]]
"""First row of a block, number of rows, and the scores, (q, rows) between -1 and 1, of the queries of a slice."""


@dataclass
class Neighbours:
    """The k nearest rows of each of n queries, nearest first.

    Attributes:
        rows: (n, k) row numbers, -1 if there are fewer than k.
        cosines: (n, k), multiples of 2⁻²⁰; -inf if there are fewer than k.
    """

    rows: IntArray
    cosines: FloatArray


def nearest(
    queries: FloatArray, table: EmbeddingTable, k: int, *, leave_out: npt.NDArray[np.int64] | None = None
) -> Neighbours:
    """Return the k nearest rows of a table by cosine; ties are in the order of the table.

    Time is O(n · rows · D), one matrix product; memory does not depend on the number of rows.

    Args:
        queries: unit vectors (n, D).
        table: the table to search.
        k: number of neighbours, at least 1.
        leave_out: for each query, the row to exclude (the query itself), or -1; (n,).
    """
    return best_rows(len(queries), len(table), k, lambda part: table_blocks(table, queries[part]), leave_out)


def cosines_of(queries: FloatArray, table: EmbeddingTable, rows: IntArray) -> FloatArray:
    """Return the cosines of queries, unit vectors (n, D), with given rows of a table in memory, (n, k); -inf for row -1."""
    vectors = table.numpy()
    found = np.full(rows.shape, -np.inf, dtype=np.float32)
    for query, (own, of) in enumerate(zip(queries, rows, strict=True)):
        known = of >= 0
        found[query, known] = np.rint(np.clip(vectors[of[known]] @ own, -1, 1) * SCALE) / SCALE
    return found


def table_blocks(table: EmbeddingTable, queries: FloatArray) -> Iterator[Block]:
    """Yield the blocks of a table, with the cosines of queries, unit vectors (n, D)."""
    for start, vectors in table.blocks():
        yield block_of(start, vectors, queries)


def block_of(start: int, vectors: FloatArray, queries: FloatArray) -> Block:
    """Return consecutive rows, (rows, D), as a block that begins with row `start`."""
    columns = torch.from_numpy(np.ascontiguousarray(vectors)).T
    return start, len(vectors), functools.partial(_cosines, queries, columns)


def _cosines(queries: FloatArray, columns: Tensor, part: slice) -> Tensor:
    return torch.from_numpy(queries[part]) @ columns


def best_rows(
    queries: int, rows_of_table: int, k: int, blocks: Callable[[slice], Iterator[Block]], leave_out: IntArray | None
) -> Neighbours:
    """Return the k rows with the best scores for each query, whatever the blocks; ties are in the order of the table.

    Args:
        queries: number of queries.
        rows_of_table: number of rows.
        k: number of neighbours, at least 1.
        blocks: yields the blocks of a table for the queries of a slice.
        leave_out: see `nearest`.
    """
    found = []
    with console.progress_task("searching", queries * rows_of_table, unit="comparisons") as bar:
        for first in range(0, queries, QUERIES):
            part = slice(first, min(first + QUERIES, queries))
            own = None if leave_out is None else leave_out[part]
            found.append(best_keys(part.stop - first, min(k, rows_of_table), blocks(part), own, bar.advance))
    return neighbours_of(np.concatenate(found) if found else np.empty((0, 0), dtype=np.int64), k)


def best_keys(
    queries: int,
    count: int,
    blocks: Iterator[Block],
    leave_out: IntArray | None,
    advance: Callable[[int], None] = lambda comparisons: None,
) -> IntArray:
    """Return the best keys of each query, (n, count) in decreasing order; -1 if there are fewer.

    A key packs the rounded cosine and the row number, counted from the end, into one integer. Keys are therefore unique, and
    those of several parts of a table can be merged.

    Args:
        queries: number of queries n.
        count: number of keys of each.
        blocks: of the table, or a part of it.
        leave_out: see `nearest`.
        advance: called with the number of comparisons after each block.
    """
    best = torch.full((queries, count), -1, dtype=torch.int64)
    for block in blocks:
        _update(best, block, leave_out)
        advance(queries * block[1])
    return best.numpy()


def neighbours_of(keys: IntArray, k: int) -> Neighbours:
    """Return the neighbours that keys, (n, count ≤ k), stand for."""
    rows = np.full((len(keys), k), -1, dtype=np.int64)
    cosines = np.full((len(keys), k), -np.inf, dtype=np.float32)
    found = keys >= 0
    rows[:, : keys.shape[1]] = np.where(found, _LAST - (keys & _LAST), -1)
    cosines[:, : keys.shape[1]] = np.where(found, (keys >> 32) / SCALE - 1, -np.inf)
    return Neighbours(rows, cosines)


_LAST = (1 << 32) - 1


def _update(best: Tensor, block: Block, leave_out: IntArray | None) -> None:
    """Update the best keys, (n, k) in decreasing order, with the next rows of the table."""
    start, size, score = block
    width = best.shape[1]
    places = torch.arange(_LAST - start, _LAST - start - size, -1)
    for first in range(0, len(best), STEP):
        part = slice(first, min(first + STEP, len(best)))
        scores = score(part)
        scores.clamp_(-1, 1).mul_(SCALE).round_()
        if leave_out is not None:
            own = torch.from_numpy(leave_out[part]) - start
            at = ((own >= 0) & (own < size)).nonzero().squeeze(1)
            scores[at, own[at]] = -torch.inf
        fewer = min(width, scores.shape[1])
        top, index = scores.topk(fewer, dim=1)
        keys = _keys(top, places[index])
        # topk breaks ties at the last place arbitrarily; if there is one, consider all equal values.
        ties = ((scores >= top[:, -1:]).sum(1) > fewer).nonzero().squeeze(1)
        for row in ties.tolist():
            same = (scores[row] >= top[row, -1]).nonzero().squeeze(1)
            keys[row] = _keys(scores[row, same], places[same]).topk(fewer).values
        best[part] = torch.cat([best[part], keys], dim=1).topk(width, dim=1).values


def _keys(scores: Tensor, places: Tensor) -> Tensor:
    keys = ((scores.clamp(min=-SCALE).long() + SCALE) << 32) | places
    return torch.where(torch.isinf(scores), -1, keys)
