"""Searches in pieces: the same neighbours as in one piece, whatever the files, row groups and workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.config.parallel import ParallelConfig
from phylocli.core.errors import BadInputError
from phylocli.executors.dask_cluster import close_clusters
from phylocli.formats.embeddings.table import batches_of
from phylocli.search import EmbeddingTable, nearest, open_table, sharded
from phylocli.search.indices.quantised import open_codes

BLOCK, ROWS, FEATURES = sharded.BLOCK, 150_000, 4
PROCESSES, CLUSTER = ParallelConfig(jobs=2), ParallelConfig(cluster="local:2")


@pytest.fixture(scope="module", autouse=True)
def _closed_at_the_end() -> Iterator[None]:
    yield
    close_clusters()


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Few different vectors, so that there are ties within and across pieces."""
    rng = np.random.default_rng(0)
    return rng.integers(-4, 5, size=(ROWS, FEATURES)).astype(np.float32) + 0.5


def write(path: Path, vectors: np.ndarray, group: int, first: int = 0) -> Path:
    ids = [f"r{row}" for row in range(first, first + len(vectors))]
    column = pl.Series(vectors, dtype=pl.Array(pl.Float32, FEATURES))
    pl.DataFrame({"id": ids, "embedding": column}).write_parquet(path, row_group_size=group)
    return path


@pytest.mark.parametrize("rows", [slice(0, 0), slice(0, 65_536), slice(50_000, 150_000), slice(131_072, 200_000)])
def test_rows_of_a_file_come_in_whole_blocks_whatever_its_row_groups(
    tmp_path: Path, vectors: np.ndarray, rows: slice
) -> None:
    path = write(tmp_path / "t.parquet", vectors, 40_000)
    found = [batch.column(0).to_pylist() for batch in batches_of(path, ["id"], rows)]
    assert [name for batch in found for name in batch] == [f"r{row}" for row in range(ROWS)[rows]]
    assert all(len(batch) == BLOCK for batch in found[:-1])


@pytest.mark.parametrize(
    ("group", "shards"), [(40_000, [65_536, 65_536, 18_928]), (ROWS, [ROWS]), (100_000, [131_072, 18_928])]
)
def test_a_file_is_divided_where_a_row_group_begins_or_less_than_a_block_later(
    tmp_path: Path, vectors: np.ndarray, group: int, shards: list[int]
) -> None:
    table = open_table(write(tmp_path / "t.parquet", vectors, group))
    found = sharded._table_shards(table, BLOCK)
    assert [sum(rows.stop - rows.start for _, rows in shard.parts) for shard in found] == shards
    assert [shard.first for shard in found] == np.cumsum([0, *shards[:-1]]).tolist()


@pytest.mark.parametrize(
    ("files", "read", "parallel"),
    [(1, False, PROCESSES), (2, True, PROCESSES), (2, False, CLUSTER)],
    ids=["streamed", "files, read", "files, cluster"],
)
def test_pieces_of_a_table_give_the_neighbours_of_the_whole(
    tmp_path: Path, vectors: np.ndarray, files: int, read: bool, parallel: ParallelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = np.linspace(0, ROWS, files + 1).astype(int)
    for k in range(files):
        here = vectors[edges[k] : edges[k + 1]]
        write(tmp_path / f"part-{k:05d}.parquet", here, 40_000, int(edges[k]))
    ids = [f"r{row}" for row in range(ROWS)]
    table = open_table(EmbeddingTable("parts", ids, FEATURES, files=sorted(tmp_path.glob("part-*"))))
    own = np.arange(7, ROWS, 300)
    queries = table.take(own)
    whole = nearest(queries, table, 5, leave_out=own)
    if read:
        table.numpy()  # which keeps the vectors of the whole table
    ran: list[int] = []
    run_all = sharded.run_all
    monkeypatch.setattr(sharded, "run_all", lambda *a, total, **o: (ran.append(total), run_all(*a, total=total, **o))[1])
    found = sharded.nearest_in_pieces(queries, table, 5, parallel, leave_out=own)
    assert (found.rows == whole.rows).all() and (found.cosines == whole.cosines).all()
    assert min(ran) >= 2


def test_pieces_of_codes_give_the_neighbours_of_the_whole(
    tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = open_table(write(tmp_path / "t.parquet", vectors, ROWS))
    codes = open_codes(table, "int8")
    own = np.arange(7, ROWS, 300)
    queries = table.take(own)
    whole = codes.nearest(queries, 5, leave_out=own)
    assert sharded._rows_each(ROWS, 2) < ROWS
    monkeypatch.setattr(sharded, "QUERIES_EACH", 256)
    monkeypatch.setattr(sharded, "SENT", (1, 1))  # several groups of queries
    found = sharded.nearest_codes_in_pieces(queries, codes, 5, CLUSTER, leave_out=own)
    assert (found.rows == whole.rows).all() and (found.cosines == whole.cosines).all()


def test_queries_are_divided_if_the_rows_cannot_be_and_threads_by_the_pieces() -> None:
    assert sharded._queries_each(2000, 1, 4) == 512  # two steps of 256
    assert sharded._queries_each(2000, 4, 4) == 2048
    assert sharded._queries_each(100, 1, 4) == 256
    assert sharded._queries_each(10**6, 1, 4) == sharded.QUERIES_EACH


def test_a_row_that_cannot_be_compared_is_named_by_its_number_in_its_file(tmp_path: Path, vectors: np.ndarray) -> None:
    damaged = vectors.copy()
    damaged[140_000] = np.nan
    table = open_table(write(tmp_path / "t.parquet", damaged, 40_000))
    with pytest.raises(BadInputError, match="'row 140001' has values that are not numbers"):
        sharded.nearest_in_pieces(vectors[:3], table, 5, ParallelConfig(jobs=2))
