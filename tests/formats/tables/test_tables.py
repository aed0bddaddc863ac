import io
import os
import sys

import polars as pl
import pyarrow as pa
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import tables
from phylocli.formats.tables.reading import parse_table


@pytest.fixture
def pairs():
    return pl.DataFrame(
        {
            "family": ["PF1", "PF1"],
            "clan": ["CL1", "CL1"],
            "id_a": ["a/1-3", 'q"uote'],
            "id_b": ["b", "=1+1"],
            "distance": [0.1, 1 / 3],
            "relation": ["ortholog", "unknown"],
            "seq_a": ["ACD", "AC"],
            "seq_b": ["ACE", "AD"],
        }
    )


@pytest.mark.parametrize("suffix", ["tsv", "tsv.gz", "csv", "parquet", "arrow"])
def test_tables_round_trip(tmp_path, pairs, suffix):
    path = tmp_path / f"t.{suffix}"
    with tables.TableWriter(path, tables.pairs_schema()) as writer:
        writer.write(pairs.head(1))
        writer.write(pairs.tail(1))
    assert writer.rows == 2
    again = tables.read_table(path).with_columns(pl.col("family", "clan").cast(pl.String))
    assert again.equals(pairs)


def test_a_broken_off_table_leaves_no_file(tmp_path, pairs):
    with pytest.raises(RuntimeError), tables.TableWriter(tmp_path / "t.parquet", tables.pairs_schema()) as writer:
        writer.write(pairs)
        raise RuntimeError
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("rows", [0, 1])
def test_a_broken_off_table_in_a_pipe_is_not_taken_for_a_whole_one(pairs, monkeypatch, format, rows):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with pytest.raises(RuntimeError), tables.TableWriter(None, tables.pairs_schema(), format) as writer:
        for _ in range(rows):
            writer.write(pairs)
        raise RuntimeError
    del writer
    sys.stdout.flush()
    written = out.getvalue()
    assert bool(written) == bool(rows)  # nothing if the input is invalid
    with pytest.raises(BadInputError, match="cannot be read" if rows else "is empty"):
        parse_table(written, "standard input")


@pytest.mark.parametrize("format", ["parquet", "arrow", "tsv"])
def test_a_table_without_rows_in_a_pipe_is_whole(monkeypatch, format):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    with tables.TableWriter(None, tables.pairs_schema(), format):
        pass
    sys.stdout.flush()
    found = parse_table(out.getvalue(), "standard input")
    assert (found.height, found.columns) == (0, tables.pairs_schema().names)


def test_names_are_dictionary_encoded(tmp_path, pairs):
    import pyarrow.parquet as pq

    tables.write_table(pairs, tmp_path / "t.parquet", tables.pairs_schema())
    assert pa.types.is_dictionary(pq.read_schema(tmp_path / "t.parquet").field("family").type)


def test_vectors_and_metadata_round_trip(tmp_path):
    schema = tables.embeddings_schema(3, half=True, metadata={"model": "abc"})
    frame = pl.DataFrame({"id": ["a"], "length": [5], "embedding": [[1.0, 2.0, 0.5]]})
    path = tmp_path / "e.parquet"
    tables.write_table(frame, path, schema)
    assert tables.read_table(path)["embedding"].to_list() == [[1.0, 2.0, 0.5]]
    assert tables.read_parquet_metadata(path)["model"] == "abc"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"PAR1 no parquet", "cannot be read"),
        (b"\x89PNG\0\0\0", "a PNG picture"),
        (b"a\0b\n1\n", "zero bytes"),
    ],
)
def test_files_that_are_not_tables_are_refused(tmp_path, data, said):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match=said):
        tables.read_table(path)


def test_missing_columns_are_named(pairs):
    with pytest.raises(BadInputError, match="lacks the column label"):
        tables.require_columns(pairs, ["family", "label"], "t.tsv", "a labels table")


def test_parquet_on_standard_output(pairs, monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    tables.write_table(pairs, "-", tables.pairs_schema(), "parquet")
    assert pl.read_parquet(io.BytesIO(out.getvalue())).height == 2


def test_texts_become_numbers_only_where_nothing_is_lost(tmp_path):
    path = tmp_path / "t.tsv"
    mask = "0" * 5 + "1" * 200
    path.write_text(f"id\tinteger\treal\tmask\tword\tgap\n001\t1\t1e-3\t{mask}\tx\t\n002\t-2\tnan\t{mask}\t3\t0.5\n")
    frame = tables.read_table(path)
    assert frame["id"].to_list() == ["001", "002"] and frame["mask"].to_list() == [mask, mask]
    assert frame["integer"].to_list() == [1, -2] and frame["word"].to_list() == ["x", "3"]
    assert frame["real"].to_list() == [1e-3, None] and frame["gap"].to_list() == [None, 0.5]


@pytest.mark.parametrize("name", ["e.h5", "e.npz", "e.xlsx", "e.json", "e.h5.gz", "E.NPZ", "e.v2"])
def test_a_suffix_of_no_table_format_is_refused_with_the_list(tmp_path, pairs, name):
    with pytest.raises(UsageError, match=f"cannot be written as \\.{name.lower().split('.')[1]}") as caught:
        tables.write_table(pairs, tmp_path / name, tables.pairs_schema())
    assert all(suffix in (caught.value.fix or "") for suffix in (".tsv", ".csv", ".parquet", ".arrow", "--format"))
    assert not list(tmp_path.iterdir())
    tables.write_table(pairs, tmp_path / name, tables.pairs_schema(), "parquet")  # what --format names is taken


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *[
            ("t", "tsv"),
            ("t.tsv", "tsv"),
            ("t.txt.gz", "tsv"),
            ("t.CSV", "csv"),
            ("t.pq", "parquet"),
            ("t.feather", "arrow"),
        ],
        *[("/dev/stdout", "tsv"), ("-", "tsv"), (None, "tsv"), ("a.b/t", "tsv"), ("t.gz", "tsv")],
    ],
)
def test_a_suffix_names_the_format(name, format):
    assert tables.format_of(name) == format


@pytest.mark.parametrize(
    ("format", "target", "warned"),
    [
        ("wide-csv", "e.csv", False),
        ("parquet", "e.parquet", False),
        ("tsv", "e.unknown", False),
        ("tsv", None, False),
        ("wide-tsv", "e.csv", True),
        ("wide-tsv", "e.arrow", True),
        ("tsv", "e.parquet", True),
    ],
)
def test_a_named_format_that_contradicts_the_suffix_gives_a_warning(
    format: str, target: str | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    assert tables.parse_format(format, target, known=tables.EMBEDDINGS) == format
    assert ("although its suffix means" in caplog.text) is warned
