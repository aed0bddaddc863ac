"""Approximate nearest neighbours for millions of rows: an HNSW graph (usearch), stored in the folder of the table.

Method: Malkov & Yashunin 2020 (doi:10.1109/TPAMI.2018.2889473). The graph contains the vectors in float32, so cosines of
hits are exact, but neighbours may be missed. The recall is measured when the graph is built.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from phylocli.core import console
from phylocli.core.errors import MissingDependencyError
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import atomic_path
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.exact import SCALE, Neighbours
from phylocli.search.indices.files import index_path, measured_recall, recorded_recall, report_damage, write_record

SUFFIX = "usearch"
"""Suffix of the file beside the table."""

CONNECTIVITY, EFFORT = 16, 128
"""Edges per node (M), and size of the candidate list during construction and search (ef)."""


class Graph:
    """The HNSW graph of a table.

    Attributes:
        recall: recall@20, measured on a sample of the table.
    """

    def __init__(self, index: Any, recall: float) -> None:
        self._index = index
        self.recall = recall

    def nearest(self, queries: FloatArray, k: int, *, leave_out: IntArray | None = None, threads: int = 0) -> Neighbours:
        """Return approximately the k nearest rows by cosine; for the arguments see `exact.nearest`."""
        more = min(k + (leave_out is not None), len(self._index))
        keys, distances = _search(self._index, queries, more, threads)
        cosines = np.round((1 - distances) * SCALE) / SCALE
        cosines[keys < 0] = -np.inf
        if leave_out is not None:
            cosines[keys == leave_out[:, None]] = -np.inf
        order = np.lexsort((keys, -cosines), axis=1)[:, :k]
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        found = np.full((len(queries), k), -np.inf, dtype=np.float32)
        width = order.shape[1]
        found[:, :width] = np.take_along_axis(cosines, order, axis=1)
        rows[:, :width] = np.where(np.isfinite(found[:, :width]), np.take_along_axis(keys, order, axis=1), -1)
        return Neighbours(rows, found)


def _search(index: Any, queries: FloatArray, k: int, threads: int) -> tuple[IntArray, FloatArray]:
    """Return row numbers and cosine distances, (n, k) each; -1 and ∞ where fewer than k rows are found."""
    found = index.search(queries, k, threads=threads)
    keys = np.full((len(queries), k), -1, dtype=np.int64)
    distances = np.full((len(queries), k), np.inf, dtype=np.float32)
    counts = np.atleast_1d(found.counts) if len(queries) > 1 else np.array([len(found.keys)])
    all_keys, all_distances = np.atleast_2d(found.keys), np.atleast_2d(found.distances)
    for row, count in enumerate(counts):
        keys[row, :count] = all_keys[row, :count].astype(np.int64)
        distances[row, :count] = all_distances[row, :count]
    return keys, distances


def open_graph(table: EmbeddingTable, *, threads: int = 1) -> Graph:
    """Load the graph of a table; build and save it if it is missing, damaged or belongs to another table.

    Args:
        table: a table streamed from a Parquet file or a folder of parts.
        threads: threads for construction; with one thread, the graph is reproducible.

    Raises:
        MissingDependencyError: usearch is not installed.
    """
    try:
        from usearch.index import Index
    except ImportError as error:
        raise MissingDependencyError(
            "approximate search needs usearch, which is not installed", fix="pip install '.[ann]'"
        ) from error
    path = index_path(table, SUFFIX)
    known = recorded_recall(path, table)
    if known is not None:
        try:
            return Graph(Index.restore(str(path), view=True), known)
        except (OSError, ValueError, RuntimeError) as error:
            report_damage(path, error)
    index = Index(
        ndim=table.dimension,
        metric="cos",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EFFORT,
        expansion_search=EFFORT,
    )
    with console.progress_task("building the graph", len(table), unit="rows") as bar:
        for start, vectors in table.blocks():
            index.add(np.arange(start, start + len(vectors), dtype=np.uint64), vectors, threads=threads)
            bar.advance(len(vectors))
    graph = Graph(index, measured_recall(table, lambda queries, k: _search(index, queries, k, 1)[0]))
    with atomic_path(path, wait=True) as part:  # two searches may build it at the same time
        index.save(str(part))
        write_record(path, part, table, graph.recall)
    return graph
