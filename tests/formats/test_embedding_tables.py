"""Reader of embedding tables: all formats, unchanged ids, and detection of damage."""

from __future__ import annotations

import errno
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings, unit
from phylocli.formats.streams import OutputError
from phylocli.formats.tables import (
    TableFormat,
    TableWriter,
    array_files,
    embeddings_schema,
    labels_schema,
    read_table,
    write_table,
)
from phylocli.formats.tables.columns import ColumnOptions
from phylocli.probe.inputs.labels import read_labels
from phylocli.probe.labels import write_labels
from phylocli.search import open_table

IDS = ["a", "b/1-50", "c/d/2-3", "ç|x"]
VECTORS = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)


def fixed(vectors: np.ndarray = VECTORS) -> pl.Series:
    return pl.Series("embedding", vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))


def wide(**more: object) -> pl.DataFrame:
    return pl.DataFrame({"id": IDS, **{f"d{i}": VECTORS[:, i] for i in range(5)}, **more})


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name, vector in zip(IDS, VECTORS, strict=True):
            file[name] = vector


def hdf5_original(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number, (name, vector) in enumerate(zip(IDS, VECTORS, strict=True)):
            file.create_dataset(str(number), data=vector).attrs["original_id"] = f"{name} a description"


def hdf5_table(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["ids"] = IDS
        file["embeddings"] = VECTORS


def esm(path: Path) -> None:
    for name, vector in zip(IDS, VECTORS, strict=True):
        target = path / f"{name} some description.pt"
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"label": f"{name} some description", "mean_representations": {6: torch.from_numpy(vector)}}, target)


WRITERS: dict[str, Callable[[Path], object]] = {
    "t.parquet": lambda p: pl.DataFrame({"id": IDS, "embedding": fixed()}).write_parquet(p),
    "lists.parquet": lambda p: pl.DataFrame({"id": IDS, "vector": VECTORS.tolist()}).write_parquet(p),
    "wide.parquet": lambda p: wide(__index_level_0__=[7, 3, 9, 1]).write_parquet(p),
    "wide.csv": lambda p: wide(taxon=[9606, 10090, 1, 2]).write_csv(p),
    "index.csv": lambda p: wide().with_row_index("").write_csv(p),
    "named.csv": lambda p: wide().rename({"id": ""}).write_csv(p),
    "excel.csv": lambda p: wide().write_csv(p, separator=";", decimal_comma=True),
    "lists.tsv": lambda p: pl.DataFrame({"id": IDS, "x": [str(v.tolist()) for v in VECTORS]}).write_csv(p, separator="\t"),
    "numpy.csv": lambda p: pl.DataFrame({"id": IDS, "embedding": [str(v) for v in VECTORS.astype("f8")]}).write_csv(p),
    "t.arrow": lambda p: pl.DataFrame({"id": IDS, "embedding": fixed()}).write_ipc(p),
    "t.arrows": lambda p: pl.DataFrame({"id": IDS, "embedding": VECTORS.tolist()}).write_ipc_stream(p),
    "two.npz": lambda p: np.savez(p, ids=np.array(IDS), embeddings=VECTORS),
    "keys.h5": hdf5,
    "original.h5": hdf5_original,
    "table.h5": hdf5_table,
    "esm": esm,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_ids_and_vectors(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    found = read_embeddings(tmp_path / name)
    assert sorted(found.ids) == sorted(IDS) and found.dimension == 5
    np.testing.assert_allclose(found.vectors_for(IDS), VECTORS, atol=1e-6)
    assert bool(found.files) == (name in ("t.parquet", "lists.parquet"))  # these are streamed
    np.testing.assert_allclose(open_table(tmp_path / name).vectors_for(IDS), unit(VECTORS), atol=1e-6)


WRITTEN = ["parquet", "arrow", "feather", "arrows", "tsv", "csv", "npz", "npy", "h5", "hdf5", "pt", "csv.gz", "arrow.zst"]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_table_that_is_written_is_the_one_that_is_read(tmp_path: Path, suffix: str) -> None:
    EmbeddingTable("x", IDS, 5, {"phylocli.model": "f00"}, vectors=VECTORS).write(tmp_path / f"t.{suffix}")
    found = read_embeddings(tmp_path / f"t.{suffix}")
    assert found.ids == IDS and np.array_equal(found.numpy(), VECTORS)
    keeps_metadata = suffix.startswith(("parquet", "arrow", "feather", "ipc"))
    assert found.metadata.get("phylocli.model") == ("f00" if keeps_metadata else None)
    assert found.to_polars().schema["embedding"] == pl.Array(pl.Float32, 5)


@pytest.mark.parametrize("format", ["wide-tsv", "wide-csv"])
def test_a_wide_table_has_one_column_a_feature(tmp_path: Path, format: TableFormat) -> None:
    EmbeddingTable("x", IDS, 5, vectors=VECTORS).write(tmp_path / "t.txt", format)
    separator = "," if format == "wide-csv" else "\t"
    frame = pl.read_csv(tmp_path / "t.txt", separator=separator, schema_overrides={"d3": pl.Float32})
    assert frame.columns == ["id", "length", "d1", "d2", "d3", "d4", "d5"]
    assert np.array_equal(frame["d3"].to_numpy(), VECTORS[:, 2])
    assert np.array_equal(read_embeddings(tmp_path / "t.txt").numpy(), VECTORS)


@pytest.mark.parametrize("suffix", ["arrow", "feather", "ipc"])
def test_arrow_is_a_file_that_polars_and_pyarrow_open_by_name(tmp_path: Path, suffix: str) -> None:
    EmbeddingTable("x", IDS, 5, vectors=VECTORS).write(tmp_path / f"t.{suffix}")
    assert pl.read_ipc(tmp_path / f"t.{suffix}")["id"].to_list() == IDS
    assert feather.read_table(tmp_path / f"t.{suffix}").column_names == ["id", "length", "embedding"]


def test_files_of_arrays_open_in_their_own_libraries(tmp_path: Path) -> None:
    table = EmbeddingTable("x", IDS, 5, {"phylocli.model": "f00"}, vectors=VECTORS, lengths=[3, 4, 5, 6])
    for suffix in ("npz", "npy", "h5", "pt"):
        table.write(tmp_path / f"t.{suffix}")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == IDS and arrays["lengths"].tolist() == [3, 4, 5, 6]
        assert np.array_equal(arrays["embeddings"], VECTORS)
    assert np.array_equal(np.load(tmp_path / "t.npy", allow_pickle=False), VECTORS)
    assert (tmp_path / "t.ids.txt").read_text().splitlines() == IDS
    tensors = torch.load(tmp_path / "t.pt", weights_only=True)
    assert tensors["ids"] == IDS and torch.equal(tensors["embeddings"], torch.from_numpy(VECTORS))
    assert tensors["metadata"]["phylocli.model"] == "f00"
    with h5py.File(tmp_path / "t.h5") as file:
        assert file["ids"].asstr()[:].tolist() == IDS and np.array_equal(file["embeddings"][:], VECTORS)
        assert file.attrs["phylocli.model"] == "f00"


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5", "pt"])
def test_files_of_arrays_are_the_same_bytes_each_time_and_none_after_an_error(tmp_path: Path, suffix: str) -> None:
    def write(path: Path, *, fail: bool = False) -> None:
        with TableWriter(path, embeddings_schema(5)) as writer:
            writer.write(pl.DataFrame({"id": IDS, "length": [1, 2, 3, 4], "embedding": fixed()}))
            assert not fail, "on purpose"

    write(tmp_path / f"a.{suffix}")
    write(tmp_path / f"b.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AssertionError, match="on purpose"):
        write(tmp_path / f"c.{suffix}", fail=True)
    assert sorted(tmp_path.iterdir()) == before


def test_ids_of_an_npy_file_stay_if_the_array_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema, frame = embeddings_schema(1), pl.DataFrame({"id": ["a"], "length": [1], "embedding": [[1.0]]})
    write_table(frame, tmp_path / "t.npy", schema)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(array_files.WRITERS, "npy", fail)
    with pytest.raises(OutputError, match="no space left"):
        write_table(frame.with_columns(id=pl.lit("b")), tmp_path / "t.npy", schema)
    assert (tmp_path / "t.ids.txt").read_text() == "a\n"


def test_an_npy_file_without_its_ids_says_where_they_belong(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", VECTORS)
    with pytest.raises(BadInputError, match=r"there is no t\.ids\.txt with one id"):
        read_embeddings(tmp_path / "t.npy")


def test_formats_of_vectors_are_refused_for_other_tables_and_npy_for_pipes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written as \.npz"):
        TableWriter(tmp_path / "t.npz", labels_schema())
    with pytest.raises(UsageError, match="npz stores vectors"):
        TableWriter(tmp_path / "t", labels_schema(), "npz")
    with pytest.raises(UsageError, match="npy needs a file"), TableWriter("-", embeddings_schema(5), "npy"):
        pass
    packed = TableWriter(tmp_path / "t.npz.gz", embeddings_schema(5))
    with pytest.raises(UsageError, match="not compressed from outside"), packed:
        pass


def test_what_was_taken_for_features_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wide(taxon=[9606, 10090, 1, 2], mass=[1.0, 2, 3, 4]).with_row_index("").write_csv(tmp_path / "t.csv")
    read_embeddings(tmp_path / "t.csv")
    said = capsys.readouterr().err
    assert "5 features from d0 … d4" in said and "not used: (no name), taxon, mass" in said
    found = read_embeddings(tmp_path / "t.csv", ColumnOptions.of(features=["d*", "mass"]))
    assert found.dimension == 6 and found.numpy()[:, 5].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["*", "^.*$", "^x$", "^z$"])
def test_a_column_named_like_a_pattern_is_one_column(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_text(f"id,{name},x,kind\na,0.5,1.5,u\nb,2.5,3.5,v\n")
    assert read_embeddings(tmp_path / "t.csv").numpy().tolist() == [[0.5, 1.5], [2.5, 3.5]]
    (tmp_path / "labels.csv").write_text(f"id,{name},kind\na,0.5,u\nb,2.5,v\n")
    assert read_labels(tmp_path / "labels.csv").columns == ["id", name, "kind"]
    write_labels([tmp_path / "labels.csv"], tmp_path / "made.tsv")
    assert read_table(tmp_path / "made.tsv").columns == ["id", name, "kind"]


def test_headers_that_would_be_one_id_stay_whole(tmp_path: Path) -> None:
    for number, label in enumerate(["Homo 1", "Homo 2"]):
        torch.save({"label": label, "mean_representations": {6: torch.ones(3)}}, tmp_path / f"{number}.pt")
    assert sorted(read_embeddings(tmp_path).ids) == ["Homo 1", "Homo 2"]


NAN = VECTORS.copy()
NAN[1, 2] = np.nan
HUGE = VECTORS.astype(np.float64)
HUGE[1, 2] = 1e300
BAD: dict[str, tuple[pl.DataFrame, str]] = {
    "null id": (pl.DataFrame({"id": ["a", None, "c", "d"], "embedding": fixed()}), "row 2 has no id"),
    "blank id": (pl.DataFrame({"id": ["a", " ", "c", "d"], "embedding": fixed()}), "row 2 has no id"),
    "twice": (pl.DataFrame({"id": ["a", "b", "a", "d"], "embedding": fixed()}), "the id 'a' occurs twice"),
    "twice but for blanks": (pl.DataFrame({"id": ["a", "b", "a ", "d"], "embedding": fixed()}), "the id 'a' occurs twice"),
    "null": (
        pl.DataFrame({"id": IDS, "embedding": pl.Series([VECTORS[0].tolist(), None, *VECTORS[2:].tolist()])}),
        "the embedding of 'b/1-50' is missing",
    ),
    "null in fixed lists": (
        pl.DataFrame({"id": IDS, "embedding": fixed()}).with_columns(
            embedding=pl.when(pl.col("id") != "b/1-50").then("embedding")
        ),
        "the embedding of 'b/1-50' is missing",
    ),
    "null within": (
        pl.DataFrame({"id": IDS, "embedding": [[1.0, None], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]}),
        "the embedding of 'a' has values that are not numbers",
    ),
    "nan": (pl.DataFrame({"id": IDS, "embedding": fixed(NAN)}), "'b/1-50' has values that are not numbers"),
    "beyond float32": (pl.DataFrame({"id": IDS, "embedding": HUGE.tolist()}), "'b/1-50' has values that are not numbers"),
    "lengths": (
        pl.DataFrame({"id": IDS, "embedding": [[1.0, 2.0], [1.0], [1.0, 2.0], [1.0, 2.0]]}),
        r"different lengths \(1 to 2\)",
    ),
    "gap in a column": (wide(d5=[1.0, None, 2.0, 3.0]), "of 'b/1-50' has no value in the column 'd5'"),
    "empty lists": (pl.DataFrame({"id": IDS, "embedding": pl.Series([[]] * 4, dtype=pl.List(pl.Float32))}), "are empty"),
    "no rows": (pl.DataFrame({"id": IDS, "embedding": fixed()}).head(0), "has no rows"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("reader", [read_embeddings, open_table])
def test_rows_that_cannot_be_used_are_named(
    tmp_path: Path, case: str, suffix: str, reader: Callable[[Path], EmbeddingTable]
) -> None:
    frame, said = BAD[case]
    path = tmp_path / f"t.{suffix}"
    (frame.write_parquet if suffix == "parquet" else frame.write_ipc)(path)
    with pytest.raises(BadInputError, match=said) as caught:
        reader(path).numpy()
    assert str(path) in caught.value.what


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: np.savez(p, ids=np.array(["a", "b"]), embeddings=np.zeros((3, 2))), "2 ids and 3 embeddings"),
        (lambda p: np.savez(p, a=np.array(["x"]), b=np.array(["y"])), "not numeric"),
        (lambda p: np.save(p.open("wb"), np.zeros((2, 3))), "one array, without ids"),
        (
            lambda p: shutil.make_archive(str(p)[:-4], "zip", p.parent) and shutil.move(str(p)[:-4] + ".zip", p),
            "ZIP archive",
        ),
    ],
)
def test_archives_that_hold_no_embeddings_say_so(tmp_path: Path, write: Callable[[Path], object], said: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sheet.xml").write_text("<x/>")
    path = tmp_path / "in" / "t.npz"
    write(path)
    with pytest.raises(BadInputError) as caught:
        read_embeddings(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "change", [(b"(4, 5)", b"(4, 5("), (b"'descr'", b"'descr"), (b"(4, 5)", b"(9, 5)"), (b"<f4", b"<?4")]
)
def test_an_array_whose_header_is_damaged_is_named(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    np.savez(tmp_path / "right.npz", ids=np.array(IDS), embeddings=VECTORS)
    with zipfile.ZipFile(tmp_path / "right.npz") as right, zipfile.ZipFile(tmp_path / "t.npz", "w") as damaged:
        for name in right.namelist():  # with a right checksum, so that only NumPy can notice
            damaged.writestr(name, right.read(name).replace(*change))
    with pytest.raises(BadInputError, match=r"t\.npz cannot be read as NPZ"):
        read_embeddings(tmp_path / "t.npz")


def test_a_pickled_array_in_hdf5_or_a_link_to_another_file_is_not_followed(tmp_path: Path) -> None:
    hdf5(tmp_path / "other.h5")
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["a"], file["b"] = VECTORS[0], VECTORS[1]
        file["c"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/a")
    assert read_embeddings(tmp_path / "t.h5").ids == ["a", "b"]


def never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["ids"] = ["a", "b"]
        file.create_dataset("embeddings", shape=(10_000_000, 2), dtype="f4", chunks=(100, 2))


def many_never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for number in range(20):
            file.create_dataset(str(number), shape=(1 << 20,), dtype="f2", chunks=(1 << 10,))


def large_chunks(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["ids"] = ["a", "b"]
        options = {"chunks": (1_000_000, 8), "maxshape": (None, 8), "compression": "gzip", "dtype": "f4"}
        file.create_dataset("embeddings", data=np.ones((2, 8)), **options)


def texts_never_written(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["embeddings"] = VECTORS
        file.create_dataset("ids", shape=(1_000_000,), dtype=h5py.string_dtype(), chunks=(100,))


def zeros(path: Path) -> None:
    np.savez_compressed(path, ids=np.array(["a", "b"]), embeddings=np.zeros((1_500_000, 2), np.float32))


EXPANDING = [
    (never_written, "x.h5"), (many_never_written, "x.h5"), (large_chunks, "x.h5"), (texts_never_written, "x.h5"),
    (zeros, "x.npz"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "name"), EXPANDING, ids=[write.__name__ for write, _ in EXPANDING])
def test_arrays_that_expand_too_much_are_refused_before_they_fill_memory(
    tmp_path: Path, write: Callable[[Path], object], name: str
) -> None:
    path = tmp_path / name
    write(path)
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match=rf"{name} expands to more than 200 times its size"):
            read_embeddings(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def test_a_parquet_file_that_expands_too_much_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phylocli.formats.tables.reading.LARGE", 1 << 20)
    path = tmp_path / "t.parquet"
    constant = pl.DataFrame({"id": pl.repeat("a", 1_000_000, eager=True), "x": pl.zeros(1_000_000, eager=True)})
    constant.write_parquet(path)
    for read in (read_table, read_embeddings):
        with pytest.raises(BadInputError, match=r"t\.parquet expands to more than 1000 times its size"):
            read(path)
    sparse = {f"d{k}": np.arange(3000) == k for k in range(200)}
    pl.DataFrame({"id": [f"protein{k}" for k in range(3000)], **sparse}).write_parquet(path)
    assert read_table(path).height == 3000


def test_residues_per_sequence_in_hdf5_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["a"], file["b/1-2"] = np.zeros((7, 3)), np.zeros((9, 3))
    with pytest.raises(BadInputError, match="one vector per sequence") as caught:
        read_embeddings(tmp_path / "t.h5")
    assert "'a' has the shape (7, 3)" in str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    names = ["t.parquet", "wide.parquet", "t.arrow", "t.arrows", "two.npz", "keys.h5", "wide.csv", "lists.tsv"]
    for name in names:
        WRITERS[name](folder / name)
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize(
    "name", ["t.parquet", "wide.parquet", "t.arrow", "t.arrows", "two.npz", "keys.h5", "wide.csv", "lists.tsv"]
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=3))
def test_damaged_files_end_in_a_typed_error_with_their_name(
    sound: dict[str, bytes], tmp_path: Path, name: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(sound[name])
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    path = tmp_path / name
    path.write_bytes(data[: int(cut * len(data))] if not flips else data)
    try:
        read_embeddings(path).numpy()
    except PhylocliError as error:
        assert name in error.what


def test_ids_that_are_not_text_are_an_error_with_the_name_of_the_file(tmp_path: Path) -> None:
    table = pa.table({"id": ["one", "two"], "embedding": pa.array([[0.0, 1.0]] * 2, pa.list_(pa.float32(), 2))})
    pq.write_table(table, tmp_path / "t.parquet", compression="none", use_dictionary=False, write_statistics=False)
    data = (tmp_path / "t.parquet").read_bytes()
    assert data.count(b"two") == 1
    (tmp_path / "t.parquet").write_bytes(data.replace(b"two", b"t\xffo"))
    with pytest.raises(BadInputError, match=r"t\.parquet cannot be read as a table"):
        read_embeddings(tmp_path / "t.parquet")


def test_a_column_of_ids_or_features_that_is_named_must_be_there(tmp_path: Path) -> None:
    wide(gene=list("wxyz")).write_csv(tmp_path / "t.csv")
    assert read_embeddings(tmp_path / "t.csv", ColumnOptions.of("gene")).ids == list("wxyz")
    with pytest.raises(UsageError, match="no feature column 'e'"):
        read_embeddings(tmp_path / "t.csv", ColumnOptions.of(features="e"))
