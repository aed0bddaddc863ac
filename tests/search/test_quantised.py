"""Codes beside a table: neighbours and cosines of the exact search, recall, damage, and tables that change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from phylocli.config.parallel import ParallelConfig
from phylocli.core.errors import UsageError
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.search import EmbeddingTable, nearest, open_table, search, sharded
from phylocli.search.exact import SCALE
from phylocli.search.indices import quantised
from phylocli.search.indices.approximate import open_graph
from phylocli.search.indices.files import index_path
from phylocli.search.indices.quantised import CANDIDATES, Kind, bits, nearest_by_codes, open_codes

KINDS: list[Kind] = ["float16", "int8", "binary"]


def write(path: Path, vectors: np.ndarray, precision: type[pl.DataType] = pl.Float32) -> EmbeddingTable:
    column = pl.Series(vectors.astype(np.float32)).cast(pl.Array(precision, vectors.shape[1]))
    pl.DataFrame({"id": [f"r{i}" for i in range(len(vectors))], "embedding": column}).write_parquet(path)
    return open_table(path)


def clustered(rows: int, features: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(rows // 50, features)) + 0.5  # not around the origin
    return centres[rng.integers(len(centres), size=rows)] + 0.5 * rng.normal(size=(rows, features))


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_rescored_to_the_cosines_and_the_order_of_the_exact_search(
    tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "BLOCK", 1000)
    table = write(tmp_path / "db.parquet", clustered(3500, 100))
    own = np.arange(0, 3500, 50)
    queries = table.take(own)
    codes = open_codes(table, kind)
    found, true = codes.nearest(queries, 10, leave_out=own), nearest(queries, table, 10, leave_out=own)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.rows.tolist(), true.rows.tolist(), strict=True)])
    monkeypatch.setattr(sharded, "ROWS_EACH", 2000)
    monkeypatch.setattr(sharded, "QUERIES_EACH", 40)
    merged = sharded.nearest_codes_in_pieces(queries, codes, 10, ParallelConfig(), leave_out=own)
    assert (merged.rows == found.rows).all() and (merged.cosines == found.cosines).all()
    assert recall > {"float16": 0.999, "int8": 0.995, "binary": 0.9}[kind]
    assert not (found.rows == own[:, None]).any()
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    same = found.rows == true.rows
    step = 2 / SCALE  # closer neighbours may change places
    apart = np.diff(true.cosines, axis=1, prepend=np.inf, append=-np.inf) < -step
    decided = apart[:, :-1] & apart[:, 1:] & (found.rows[:, -1:] == true.rows[:, -1:])  # none is missed before the last
    assert decided.mean() > 0.5 and same[decided].all()
    assert np.abs(found.cosines[same] - true.cosines[same]).max() < 2e-6


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 40),
    features=st.integers(1, 130),
    k=st.integers(1, 50),
    kind=st.sampled_from(KINDS),
    half=st.booleans(),
)
def test_small_tables_are_searched_exactly_whatever_their_shape(
    rows: int, features: int, k: int, kind: Kind, half: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert rows < CANDIDATES[kind][1] or kind == "float16"
    vectors = np.random.default_rng(rows + features).normal(size=(rows, features))
    table = write(tmp_path_factory.mktemp("t") / "db.parquet", vectors, pl.Float16 if half else pl.Float32)
    queries = table.take(range(rows))
    found, true = open_codes(table, kind).nearest(queries, k), nearest(queries, table, k)
    assert found.rows.shape == true.rows.shape == (rows, k)
    known = true.rows >= 0
    assert ((found.rows >= 0) == known).all()
    assert np.abs(found.cosines[known] - true.cosines[known]).max() < 2e-6
    assert (found.rows[:, 0] == np.arange(rows)).all() or features < 3  # in one dimension, directions coincide


def test_bits_are_features_above_their_mean_and_padding_is_equal() -> None:
    vectors = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 2.0]], dtype=np.float32)
    words = bits(vectors, np.array([1.5, 2.5, 2.5], dtype=np.float32))
    assert words.shape == (2, 1)
    assert np.bitwise_count(words[0] ^ words[1]).tolist() == [3]


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_made_once_for_each_content_of_the_table(
    tmp_path: Path, kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = clustered(400, 16)
    table = write(tmp_path / "db.parquet", vectors)
    open_codes(table, kind)
    made = index_path(table, kind).stat().st_mtime_ns
    assert "true 20 nearest" in capsys.readouterr().err
    open_codes(table, kind)
    assert index_path(table, kind).stat().st_mtime_ns == made
    other = write(tmp_path / "db.parquet", vectors[::-1][:300])
    assert open_codes(other, kind).nearest(other.take([7]), 1).rows[0, 0] == 7
    assert "belongs to another table" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_codes_are_noticed_at_any_place(tmp_path: Path, kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "db.parquet", clustered(200, 64))
    codes, path = open_codes(table, kind), index_path(table, kind)
    queries = table.take(range(200))
    whole = path.read_bytes()
    first, last = (whole.index(array[row].tobytes()) for array, row in ((codes.codes, 0), (codes.vectors, 199)))
    true = codes.nearest(queries, 200)
    for place in (0, first, last + codes.vectors[199].nbytes - 1):  # of the parameter, the codes and the vectors
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = nearest_by_codes(table, kind, lambda codes: codes.nearest(queries, 200))
        assert np.array_equal(found.rows, true.rows) and np.array_equal(found.cosines, true.cosines)
        assert "checksum does not match" in capsys.readouterr().err and path.read_bytes() == whole
    path.write_bytes(whole[:-1])
    capsys.readouterr()
    open_codes(table, kind)
    assert "its size does not match" in capsys.readouterr().err and path.read_bytes() == whole


@pytest.mark.parametrize("change", ["column", "content"])
def test_indices_of_another_column_or_of_new_vectors_of_the_same_size_are_not_used(tmp_path: Path, change: str) -> None:
    path = tmp_path / "db.parquet"
    columns = {
        name: pl.Series(np.random.default_rng(seed).normal(size=(300, 16)), dtype=pl.Array(pl.Float32, 16))
        for seed, name in enumerate("ab")
    }
    ids = [f"r{i}" for i in range(300)]

    def written(taken: dict[str, pl.Series]) -> int:
        frame = pl.DataFrame({"id": ids, **taken})
        frame.write_parquet(path, compression="uncompressed", statistics=False)
        return path.stat().st_size

    size = written(columns)
    before = open_table(path, ColumnOptions(features=("a",)))
    open_codes(before, "int8")
    open_graph(before)
    if change == "content":
        assert written({"a": columns["b"], "b": columns["a"]}) == size
    after = open_table(path, ColumnOptions(features=("b" if change == "column" else "a",)))
    queries = after.take(range(20))
    for found in (open_codes(after, "int8").nearest(queries, 1), open_graph(after).nearest(queries, 1)):
        assert found.rows[:, 0].tolist() == list(range(20))


def test_codes_take_their_space_before_they_are_written_and_never_by_a_signal(tmp_path: Path) -> None:
    table = write(tmp_path / "db.parquet", np.ones((2000, 64)))
    quantised.mapped(tmp_path / "codes", quantised.Layout.of(table, "float16"), new=True)
    found = (tmp_path / "codes").stat()
    assert found.st_blocks * 512 >= found.st_size > 0


def test_tables_that_are_not_parquet_have_no_codes(tmp_path: Path) -> None:
    np.savez(tmp_path / "db.npz", ids=np.array(["a", "b"]), embeddings=np.eye(2, dtype=np.float32))
    with pytest.raises(UsageError, match="Parquet tables with a column of vectors only"):
        search(tmp_path / "db.npz", tmp_path / "db.npz", quantise="int8")


def test_search_command_uses_the_codes_of_a_folder_of_parts(
    cli: Callable[..., Result], examples: Path, tmp_path: Path
) -> None:
    cli("embed", examples / "globins.fasta", "-o", f"{tmp_path}/parts/", "--shard-size", 10)
    command = ["search", examples / "globins.fasta", tmp_path / "parts", "-k", 5]
    exact = cli(*command, "-o", tmp_path / "exact.tsv")
    assert exact.exit_code == 0, exact.output
    for kind in KINDS:
        result = cli(*command, "--quantise", kind, "-o", tmp_path / f"{kind}.tsv")
        assert result.exit_code == 0, result.output
        found, true = (pl.read_csv(tmp_path / f"{name}.tsv", separator="\t") for name in (kind, "exact"))
        assert found.select("query", "target", "rank").equals(true.select("query", "target", "rank"))
        assert (found["cosine"] - true["cosine"]).abs().max() < 2e-6  # type: ignore[operator]
    refused = cli(*command, "--quantise", "int8", "--approximate")
    assert refused.exit_code == 2 and "two kinds of index" in refused.output
