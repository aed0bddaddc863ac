"""Tables of embeddings and labels of all kinds, and error messages."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.tables import embeddings_schema, residues_schema, write_table
from phylocli.probe import Dataset, baseline, read_embeddings, read_labels
from phylocli.probe.baselines import one_hot as one_hot_baseline
from phylocli.probe.baselines._kmers import expected_frequencies, kmer_frequencies
from phylocli.probe.baselines.one_hot import one_hot
from phylocli.probe.inputs.residue_vectors import OneHot

IDS = ["a", "b/1-9", "ç"]
VECTORS = np.array([[1, 2, 3], [4, 5, 6], [7, 8, -0.5]], dtype=np.float32)


def table(ids: list[str] = IDS, vectors: np.ndarray = VECTORS) -> pl.DataFrame:
    columns = {"id": ids, "length": [9] * len(ids), "embedding": vectors}
    return pl.DataFrame(columns, schema_overrides={"embedding": pl.Array(pl.Float32, vectors.shape[1])})


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "tsv", "csv", "tsv.gz"])
@pytest.mark.parametrize("half", [False, True])
def test_our_own_tables_are_read_in_every_format(tmp_path: Path, suffix: str, half: bool) -> None:
    path = tmp_path / f"my.emb.{suffix}"
    write_table(table(), path, embeddings_schema(3, half=half, metadata={"phylocli.model": "f00"}))
    found = read_embeddings(path)
    assert found.ids == IDS and found.title == "my"
    assert found.numpy().dtype == np.float32 and (found.numpy() == VECTORS).all()
    assert found.metadata == ({"phylocli.model": "f00"} if suffix in ("parquet", "arrow") else {})


def test_lists_of_any_name_and_one_column_a_dimension_are_read(tmp_path: Path) -> None:
    pl.DataFrame({"protein": IDS, "esm2": VECTORS.tolist()}).write_parquet(tmp_path / "lists.parquet")
    pl.DataFrame({"name": IDS, "d0": VECTORS[:, 0], "d1": VECTORS[:, 1], "d2": VECTORS[:, 2]}).write_csv(
        tmp_path / "wide.csv"
    )
    for name in ("lists.parquet", "wide.csv"):
        found = read_embeddings(tmp_path / name)
        assert found.ids == IDS and (found.numpy() == VECTORS).all()


def test_npz_with_ids_or_one_vector_a_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", ids=np.array(IDS), embeddings=VECTORS)
    np.savez(tmp_path / "keys.npz", **{"a": VECTORS[0], "b": VECTORS[1]})
    assert read_embeddings(tmp_path / "two.npz").ids == IDS
    found = read_embeddings(tmp_path / "keys.npz")
    assert found.ids == ["a", "b"] and (found.numpy() == VECTORS[:2]).all()


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", ids=np.array(IDS, dtype=object), embeddings=VECTORS)
    with pytest.raises(BadInputError, match="never unpickled"):
        read_embeddings(tmp_path / "evil.npz")


def test_hdf5_as_bio_embeddings_writes_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "reduced.h5", "w") as file:
        for number, (name, vector) in enumerate(zip(IDS, VECTORS, strict=True)):
            file.create_dataset(str(number), data=vector).attrs["original_id"] = name
    found = read_embeddings(tmp_path / "reduced.h5")
    assert dict(zip(found.ids, found.numpy().tolist(), strict=True)) == dict(zip(IDS, VECTORS.tolist(), strict=True))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (table(["a", "b", "a"]), "'a' occurs twice"),
        (
            table(vectors=np.array([[1, 2], [np.nan, 0], [3, 4]], dtype=np.float32)),
            "'b/1-9' has values that are not numbers",
        ),
        (pl.DataFrame({"id": ["a", "b"], "embedding": [[1.0, 2.0], [1.0]]}), "different lengths"),
        (pl.DataFrame({"id": ["a", "b"], "text": ["x", "y"]}), "has no embeddings"),
        (pl.DataFrame({"d0": [1.0], "d1": [2.0]}), "has no id column"),
        (table().head(0), "has no rows"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    frame.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(BadInputError, match=message):
        read_embeddings(tmp_path / "bad.parquet").numpy()


def residue_frame() -> pl.DataFrame:
    columns = {"id": ["a", "a", "b", "b", "b"], "position": [1, 2, 1, 2, 3], "residue": list("MKMAW")}
    frame = pl.DataFrame({**columns, "embedding": np.arange(15, dtype=np.float32).reshape(5, 3)})
    return frame.with_columns(pl.col("embedding").cast(pl.Array(pl.Float32, 3)))


@pytest.mark.parametrize("half", [False, True])
def test_residue_tables_give_residues_when_asked_and_their_means(tmp_path: Path, half: bool) -> None:
    write_table(residue_frame(), tmp_path / "r.parquet", residues_schema(3, half=half))
    found = read_embeddings(tmp_path / "r.parquet")
    assert found.ids == ["a", "b"] and found.numpy().tolist() == [[1.5, 2.5, 3.5], [9, 10, 11]]
    assert found.residues is not None
    assert [v.tolist() for v in found.residues(["b", "a"])] == [
        [[6, 7, 8], [9, 10, 11], [12, 13, 14]], [[0, 1, 2], [3, 4, 5]],
    ]  # fmt: skip


def test_residue_tables_in_pipes_are_refused(tmp_path: Path) -> None:
    write_table(residue_frame(), tmp_path / "r.tsv", residues_schema(3))
    with pytest.raises(BadInputError, match="write them as Parquet"):
        read_embeddings(tmp_path / "r.tsv")


def test_one_hot_residues_see_their_neighbours_and_pool_to_the_composition() -> None:
    alone, wide = OneHot({"a": "MKX"})(["a"])[0], OneHot({"a": "MKX"}, 3)(["a"])[0]
    assert alone.shape == (3, 21) and alone.sum() == 3 and alone[2, 20] == 1
    assert wide.shape == (3, 63) and (wide[:, 21:42] == alone).all()
    assert (wide[1, :21] == alone[0]).all() and wide[0, :21].sum() == 0 and (wide[0, 42:] == alone[1]).all()
    table = baseline("composition", ["a"], ["MKV"])
    assert table.residues is not None and table.residues(["a"])[0].mean(axis=0)[:20] == pytest.approx(table.vectors[0])


def test_texts_with_a_letter_a_residue_are_labels_of_residues() -> None:
    frame = pl.DataFrame({
        "id": ["a", "b"], "sequence": ["MKVL", "MA"], "ss3": ["HHCC", "EC"], "resolved_mask": ["0111", "11"],
    })  # fmt: skip
    data = Dataset.from_labels(frame, "labels")
    assert data.residue_labels == {"ss3": ["HHCC", "EC"]} and data.residue_mask == ["0111", "11"]
    assert "ss3" not in data.classes


def test_columns_become_classes_or_quantities_by_what_they_hold() -> None:
    n = 120
    frame = pl.DataFrame({
        "id": [f"s{i}" for i in range(n)],
        "family": ["a", "b"] * (n // 2),
        "kingdom": [1, 2, 3] * (n // 3),
        "member": [True, False] * (n // 2),
        "heat": np.linspace(0, 1, n),
        "count": list(range(n)),
        "sequence": [f"M{'A' * i}" for i in range(n)],
        "comment": [f"text {i}" for i in range(n)],
        "constant": ["x"] * n,
        "length": list(range(n)),
    })  # fmt: skip
    data = Dataset.from_labels(frame, "labels")
    assert set(data.classes) == {"family", "kingdom", "member"} and set(data.values) == {"heat", "count"}


def test_unknown_labels_are_no_class() -> None:
    frame = pl.DataFrame({"id": list("abcdef"), "family": ["x", "x", "y", "y", None, " "]})
    assert Dataset.from_labels(frame, "labels").classes["family"].tolist() == [0, 0, 1, 1, -1, -1]


def test_splits_go_by_many_names_and_the_test_part_is_scored() -> None:
    frame = pl.DataFrame({"id": list("abcd"), "k": ["x", "y"] * 2, "split": ["Train", "validation", "holdout", "TEST"]})
    data = Dataset.from_labels(frame, "labels")
    assert data.split == ["train", "valid", "test", "test"] and data.evaluated_rows().tolist() == [2, 3]
    with pytest.raises(BadInputError, match="'sometimes' is not train"):
        Dataset.from_labels(frame.with_columns(split=pl.lit("sometimes")), "labels")


def test_requested_columns_must_exist_and_be_usable() -> None:
    frame = pl.DataFrame({"id": list("abcd"), "k": ["x", "y"] * 2, "unique": list("pqrs")})
    with pytest.raises(UsageError, match="no column 'fold'"):
        Dataset.from_labels(frame, "labels", columns=["fold"])
    with pytest.raises(UsageError, match="'unique' cannot be used"):
        Dataset.from_labels(frame, "labels", columns=["unique"])
    with pytest.raises(UsageError, match="does not group"):
        Dataset.from_labels(frame, "labels", resample_by="unique")


def test_labels_need_one_row_an_id(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("name\tk\na\tx\na\ty\n")
    with pytest.raises(BadInputError, match="'a' occurs twice"):
        read_labels(tmp_path / "l.tsv")


def test_numbers_as_ids_are_text(tmp_path: Path) -> None:
    (tmp_path / "l.tsv").write_text("id\tk\n1\tx\n2\ty\n")
    assert read_labels(tmp_path / "l.tsv")["id"].to_list() == ["1", "2"]


def test_kmer_frequencies_by_hand() -> None:
    found = kmer_frequencies("ACAX", 2)
    assert found.shape == (400,) and found[1] == found[20] == pytest.approx(0.5) and found.sum() == pytest.approx(1)
    assert kmer_frequencies("AAC", 1)[:2] == pytest.approx([2 / 3, 1 / 3])
    assert kmer_frequencies("M", 2).sum() == 0 and kmer_frequencies("XXXX", 1).sum() == 0


def test_expected_frequencies_sum_to_one_and_factor() -> None:
    one, two = expected_frequencies(1), expected_frequencies(2)
    assert two.sum() == pytest.approx(1) and two[20 * 3 + 7] == pytest.approx(one[3] * one[7])


def test_one_hot_contains_variable_positions_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found = baseline("one-hot", ["a", "b", "c"], ["MKV", "MRV", "MKX"])
    assert found.vectors.tolist() == [[1, 0, 1], [0, 1, 1], [1, 0, 0]]  # K, R in the second place; V in the third
    assert one_hot(["MK", "M"]).tolist() == [[1], [0]]
    with pytest.raises(UsageError, match="all sequences are identical"):
        one_hot(["MK", "MK"])
    monkeypatch.setattr(one_hot_baseline, "MAX_NUMBERS", 5)
    with pytest.raises(UsageError, match="needs 3 columns for each of 3 sequences"):
        one_hot(["MKV", "MRV", "MKX"])


def test_a_baseline_must_exist() -> None:
    with pytest.raises(UsageError, match="known: composition"):
        baseline("onehot", ["a"], ["MK"])


def test_esm_folders_are_read_and_only_tensors_are_unpickled(tmp_path: Path) -> None:
    import pickle

    import torch

    folder = tmp_path / "esm"
    folder.mkdir()
    for i in range(3):
        layers = {0: torch.zeros(4), 33: torch.full((4,), float(i))}
        torch.save({"label": f"P{i}|x", "mean_representations": layers}, folder / f"P{i}.pt")
    torch.save({"representations": {33: torch.arange(8.0).reshape(2, 4)}}, folder / "residues.pt")
    found = read_embeddings(folder)
    assert found.ids == ["P0|x", "P1|x", "P2|x", "residues"]
    assert found.numpy().tolist() == [[0.0] * 4, [1.0] * 4, [2.0] * 4, [2.0, 3.0, 4.0, 5.0]]

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    (folder / "bomb.pt").write_bytes(pickle.dumps({"label": Bomb()}, protocol=2))
    with pytest.raises(BadInputError, match=r"bomb.pt cannot be read as tensors"):
        read_embeddings(folder)
    assert not (tmp_path / "ran").exists()
    (folder / "bomb.pt").unlink()
    torch.save({"label": "x", "logits": torch.zeros(3)}, folder / "other.pt")
    with pytest.raises(BadInputError, match="contains no representations"):
        read_embeddings(folder)
