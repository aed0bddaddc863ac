"""Exact and approximate nearest neighbours: against brute force, for any block size, with reproducible ties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phylocli.core.errors import BadInputError
from phylocli.embed import embed_file
from phylocli.models.model import Model
from phylocli.search import EmbeddingTable, exact, nearest, open_table, unit
from phylocli.search.indices.approximate import SUFFIX, open_graph
from phylocli.search.indices.files import index_path


def table_of(vectors: np.ndarray) -> EmbeddingTable:
    return EmbeddingTable("t", [f"r{i}" for i in range(len(vectors))], vectors.shape[1], {}, vectors=unit(vectors))


def brute_force(queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition: round, sort by falling cosine, equal ones by row."""
    scores = np.round(np.clip(queries @ unit(vectors).T, -1, 1) * exact.SCALE) / exact.SCALE
    order = np.stack([np.lexsort((np.arange(len(vectors)), -row)) for row in scores])[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@given(
    st.integers(0, 10_000),
    st.integers(1, 60),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_neighbours_equal_brute_force_for_any_block_size(
    seed: int, rows: int, count: int, k: int, block: int, step: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (rows, 3)).astype(np.float32)  # few directions: many are equal, some are zero
    queries = unit(rng.integers(-1, 2, (count, 3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phylocli.formats.embeddings.table.BLOCK", block)
        patch.setattr(exact, "STEP", step)
        patch.setattr(exact, "QUERIES", 4)
        found = nearest(queries, table_of(vectors), k)
    order, cosines = brute_force(queries, vectors, k)
    width = min(k, rows)
    assert (found.rows[:, :width] == order).all()
    assert np.allclose(found.cosines[:, :width], cosines, atol=1e-7)
    assert (found.rows[:, width:] == -1).all() and np.isneginf(found.cosines[:, width:]).all()


def test_a_row_that_does_not_count_is_left_out() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 8))
    table = table_of(vectors)
    assert table.vectors is not None
    found = nearest(table.vectors, table, 3, leave_out=np.arange(40))
    order, _ = brute_force(table.vectors, vectors, 4)
    assert (found.rows == order[:, 1:]).all()
    lonely = nearest(table.vectors[:1], table_of(vectors[:1]), 2, leave_out=np.array([0]))
    assert (lonely.rows == -1).all()


@pytest.fixture(scope="module")
def globins(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the globins' embeddings in parts, and as half-precision Parquet, TSV and by residue."""
    folder = tmp_path_factory.mktemp("globins")
    model = Model.create("convolutional", preset="tiny", seed=0)
    source = examples / "globins.fasta"
    embed_file(source, folder / "parts", model=model, shard_size=10)
    embed_file(source, folder / "half.parquet", model=model, half=True)
    embed_file(source, folder / "table.tsv", model=model)
    return folder


def test_every_form_of_a_table_gives_the_same_neighbours(globins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phylocli.formats.embeddings.table.BLOCK", 7)
    tables = [open_table(globins / name) for name in ("parts", "half.parquet", "table.tsv")]
    assert [len(t) for t in tables] == [45] * 3 and [bool(t.files) for t in tables] == [True, True, False]
    queries = tables[2].take(range(45))
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    found = [nearest(queries, table, 1).rows[:, 0].tolist() for table in tables]
    assert found[0] == found[1] == found[2] == list(range(45))
    assert np.abs(tables[0].take([44, 3, 3]) - queries[[44, 3, 3]]).max() < 1e-6


def test_tables_that_cannot_be_searched_say_why(globins: Path, examples: Path, tmp_path: Path) -> None:
    model = Model.create("convolutional", preset="tiny", seed=0)
    embed_file(examples / "globins.fasta", tmp_path / "r.parquet", model=model, per_residue=True)
    with pytest.raises(BadInputError, match="without --per-residue"):
        open_table(tmp_path / "r.parquet")
    twice = pl.read_parquet(globins / "half.parquet")
    pl.concat([twice, twice]).write_parquet(tmp_path / "twice.parquet")
    with pytest.raises(BadInputError, match="occur"):
        open_table(tmp_path / "twice.parquet")
    (globins / "parts" / "part-000002.parquet").rename(tmp_path / "gone")
    try:
        with pytest.raises(BadInputError, match="1 of 5 parts are missing"):
            open_table(globins / "parts")
    finally:
        (tmp_path / "gone").rename(globins / "parts" / "part-000002.parquet")
    with pytest.raises(BadInputError, match="no such file"):
        open_table(tmp_path / "nothing.parquet")


def test_the_graph_finds_most_neighbours_with_their_exact_cosines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(60, 24))
    vectors = (centres[rng.integers(60, size=3000)] + 0.3 * rng.normal(size=(3000, 24))).astype(np.float32)
    frame = {"id": [f"r{i}" for i in range(3000)], "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, 24))}
    pl.DataFrame(frame).write_parquet(tmp_path / "db.parquet")
    table = open_table(tmp_path / "db.parquet")
    graph = open_graph(table)
    queries = table.take(range(0, 3000, 50))
    own = np.arange(0, 3000, 50)
    near, true = graph.nearest(queries, 10, leave_out=own), nearest(queries, table, 10, leave_out=own)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near.rows.tolist(), true.rows.tolist(), strict=True)])
    assert recall > 0.95 and graph.recall > 0.95
    both = near.rows == true.rows
    assert both.mean() > 0.9 and np.abs(near.cosines[both] - true.cosines[both]).max() < 2e-6
    assert not (near.rows == own[:, None]).any()
    assert f"finds {graph.recall:.1%}" in capsys.readouterr().err
    built = index_path(table, SUFFIX).read_bytes()
    assert open_graph(table).recall == graph.recall and index_path(table, SUFFIX).read_bytes() == built  # not built again
    pl.DataFrame(frame).head(2000).write_parquet(tmp_path / "db.parquet")
    assert open_graph(open_table(tmp_path / "db.parquet")).nearest(queries[:1], 5).rows.max() < 2000


@pytest.mark.parametrize("file", ["graph", "record"])
@pytest.mark.parametrize("how", ["empty", "cut", "one bit", "other text"])
def test_damaged_graph_is_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, how: str) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    frame = {"id": [f"r{i}" for i in range(200)], "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, 8))}
    pl.DataFrame(frame).write_parquet(tmp_path / "db.parquet")
    table = open_table(tmp_path / "db.parquet")
    open_graph(table)
    sound = index_path(table, SUFFIX).read_bytes()
    path = index_path(table, SUFFIX) if file == "graph" else index_path(table, f"{SUFFIX}.json")
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    path.write_bytes({"empty": b"", "cut": data[:middle], "one bit": flipped, "other text": b'{"table": 1}'}[how])
    capsys.readouterr()
    assert open_graph(table).nearest(unit(vectors[:1]), 1).rows[0, 0] == 0
    assert "will be rebuilt" in capsys.readouterr().err
    assert index_path(table, SUFFIX).read_bytes() == sound
    open_graph(table)
    assert "will be rebuilt" not in capsys.readouterr().err
