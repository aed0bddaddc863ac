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

from phylocli.core.errors import BadInputError
from phylocli.search import EmbeddingTable, nearest, open_table
from phylocli.search.indices import quantised
from phylocli.search.indices.files import index_path
from phylocli.search.indices.quantised import CANDIDATES, Kind, bits, open_codes

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
    assert recall > {"float16": 0.999, "int8": 0.995, "binary": 0.9}[kind]
    assert not (found.rows == own[:, None]).any()
    assert (np.diff(found.cosines, axis=1) <= 0).all()
    same = found.rows == true.rows
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
    for place in (first, last + codes.vectors[199].nbytes - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(BadInputError, match="is damaged") as caught:
            open_codes(table, kind).nearest(queries, 200)
        assert caught.value.fix == "remove it; the next search makes it again"
    path.write_bytes(whole[:-1])
    capsys.readouterr()
    open_codes(table, kind)
    assert "its size does not match" in capsys.readouterr().err and path.read_bytes() == whole


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
