"""Usable information: closed forms, what each observer can and cannot use, conditional and pointwise values, and errors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.config.mi_usable import MiUsableConfig
from phylocli.core.errors import BadInputError, UsageError
from phylocli.mi import run_usable, usable
from phylocli.probe import Dataset, Embedding, evaluate
from phylocli.probe.tasks.usable_information import OBSERVERS, measure, usable_information

N = 1200


def write(folder: Path, name: str, vectors: np.ndarray) -> Path:
    columns = {f"d{k}": vectors[:, k].astype(np.float32) for k in range(vectors.shape[1])}
    pl.DataFrame({"id": [f"p{k}" for k in range(len(vectors))], **columns}).write_parquet(folder / name)
    return folder / name


def label(folder: Path, codes: np.ndarray, **more: list[str]) -> Path:
    frame = pl.DataFrame({"id": [f"p{k}" for k in range(len(codes))], "kind": [f"c{k}" for k in codes], **more})
    frame.write_csv(folder / "labels.tsv", separator="\t")
    return folder / "labels.tsv"


@pytest.fixture(scope="module")
def logistic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """Two classes whose log odds are linear in x: embeddings, labels, and the information, by numerical integration."""
    folder = tmp_path_factory.mktemp("logistic")
    rng = np.random.default_rng(0)
    codes = rng.integers(2, size=N)
    x = rng.normal(size=(N, 2)) + np.stack([2.0 * codes - 1, np.zeros(N)], axis=1)
    grid = np.linspace(-8, 8, 40_001)
    densities = [np.exp(-((grid - mean) ** 2) / 2) / math.sqrt(2 * math.pi) for mean in (-1.0, 1.0)]
    middle = sum(densities) / 2
    truth = sum(0.5 * np.trapezoid(d * np.log(d / middle), grid) for d in densities)
    return write(folder, "x.parquet", x), label(folder, codes), float(truth)


def test_every_observer_finds_the_information_that_is_linear(logistic: tuple[Path, Path, float]) -> None:
    table, labels, truth = logistic
    found = {row.observer: row for row in usable(table, labels, column="kind", replicates=200)}
    assert set(found) == {"linear", "mlp", "knn"}
    for row in found.values():
        assert row.low < truth + 0.02 and row.high > truth - 0.04
        assert row.usable_nats == pytest.approx(truth, abs=0.05)
        assert row.entropy_nats == pytest.approx(math.log(2), abs=0.01)
        assert row.n == N and row.groups is None and row.given is None


def test_pointwise_values_average_to_the_information_and_are_low_for_mislabelled_items(
    logistic: tuple[Path, Path, float], tmp_path: Path
) -> None:
    table, labels, _ = logistic
    (row,) = run_usable(
        table, labels, tmp_path / "rows.json", pointwise=tmp_path / "items.tsv",
        config=MiUsableConfig(column="kind", observers=("linear",), replicates=50),
    )  # fmt: skip
    items = pl.read_csv(tmp_path / "items.tsv", separator="\t")
    assert items.columns == ["id", "observer", "nats"] and items.height == N
    assert items["nats"].mean() == pytest.approx(row.usable_nats)
    frame = items.join(pl.read_csv(labels, separator="\t"), on="id").join(pl.read_parquet(table), on="id")
    wrong = (frame["d0"] > 0) != (frame["kind"] == "c1")
    assert frame.filter(wrong)["nats"].mean() < -0.3 < 0.3 < frame.filter(~wrong)["nats"].mean()
    # log q(y | x) - log f(y) is at most the surprise of the class.
    surprise = -math.log(frame["kind"].value_counts()["count"].min() / N)
    assert items["nats"].max() <= surprise + 0.05


def test_information_without_a_linear_trace_is_usable_by_the_others_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, size=(N, 2))
    table = write(tmp_path, "x.parquet", np.concatenate([x, x**2], axis=1)[:, :2])
    found = {
        r.observer: r.usable_nats
        for r in usable(table, label(tmp_path, (x[:, 0] * x[:, 1] > 0).astype(int)), column="kind", replicates=50)
    }
    assert abs(found["linear"]) < 0.01
    assert found["mlp"] > 0.4 and found["knn"] > 0.4


def test_noise_has_none_and_no_observer_is_far_below_zero(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    table = write(tmp_path, "x.parquet", rng.normal(size=(400, 30)))
    for row in usable(table, label(tmp_path, rng.integers(4, size=400)), column="kind", replicates=50):
        assert -0.08 < row.usable_nats < 0.02


def test_given_a_table_that_knows_it_all_nothing_is_added(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(2, size=(2, N))
    codes = 2 * first + second
    one = write(tmp_path, "one.parquet", 4.0 * first[:, None] + rng.normal(size=(N, 1)) * 0.3)
    both = write(tmp_path, "both.parquet", 4.0 * np.stack([first, second], axis=1) + rng.normal(size=(N, 2)) * 0.3)
    labels = label(tmp_path, codes)
    options = {"column": "kind", "observers": ("linear",), "replicates": 50}
    (alone,), (added,), (nothing,) = (
        list(usable(one, labels, **options)),
        list(usable(both, labels, given=one, **options)),
        list(usable(one, labels, given=both, **options)),
    )
    assert alone.usable_nats == pytest.approx(math.log(2), abs=0.03)
    assert added.usable_nats == pytest.approx(math.log(2), abs=0.03)  # chain rule: the second bit
    assert nothing.usable_nats == pytest.approx(0, abs=0.03)
    assert added.given == str(one) or added.given == one.name


def test_labelled_items_without_a_given_vector_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(6)
    table = write(tmp_path, "x.parquet", rng.normal(size=(100, 2)))
    given, labels = write(tmp_path, "z.parquet", rng.normal(size=(70, 2))), label(tmp_path, np.arange(80) % 2)
    with caplog.at_level("INFO"):
        (row,) = usable(table, labels, given=given, column="kind", observers=("knn",), replicates=10)
    assert row.n == 70
    assert "10 of 80 labelled vectors are not in" in caplog.text and "z.parquet" in caplog.text
    assert "20 of 100 vectors have no label" in caplog.text
    assert "70 of 70 items scored: 5-fold cross-validation" in caplog.text


def test_few_training_groups_or_one_class_of_them_are_measured_nevertheless(tmp_path: Path) -> None:
    """Held-out groups must leave two classes to learn from; where there is nothing to learn, nothing is usable."""
    rng = np.random.default_rng(7)
    codes, part = np.arange(120) % 2, np.repeat(["train", "test"], 60)
    vectors = np.concatenate([3.0 * codes[:, None], np.zeros((120, 1))], axis=1) + 0.3 * rng.normal(size=(120, 2))
    table = write(tmp_path, "x.parquet", vectors)
    one = np.where(part == "train", "g0", "g1")
    each = np.where(part == "train", np.array(["g0", "g1"])[codes], "g2")
    for groups in (one, each):
        labels = label(tmp_path, codes, group=groups.tolist(), split=part.tolist())
        for row in usable(table, labels, column="kind", group_by="group", replicates=10):
            assert row.n == 60 and row.usable_nats > 0.05, row
    for classes in (one, each):  # without a split, by the folds
        labels = label(tmp_path, codes, group=classes.tolist())
        for row in usable(table, labels, column="kind", group_by="group", replicates=10):
            assert row.usable_nats > 0.05, row


def test_a_fold_that_trains_on_one_class_only_counts_nothing_and_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    ids = [f"p{k}" for k in range(4)]
    columns = {"kind": ["a", "b", "a", "b"], "split": ["train", "train", "test", "test"]}
    data = Dataset.from_labels(pl.DataFrame({"id": ids, **columns}), "labels", columns=["kind"])
    found, said = usable_information(data, rng.normal(size=(4, 2)).astype(np.float32), "kind", "linear", 0)
    assert found.nats == pytest.approx([0, 0]) and "1 fold with too few training items" in said


def test_the_probe_says_why_nothing_is_given_composition() -> None:
    rng = np.random.default_rng(9)
    ids, kinds = [f"p{k}" for k in range(60)], ["a", "b"] * 30
    frame = pl.DataFrame({"id": ids, "kind": kinds})
    data = Dataset.from_labels(frame, "labels", sequences=dict.fromkeys(ids[1:], "ACDEFGHIKL"))
    embedding = Embedding("x", data.ids, rng.normal(size=(60, 2)).astype(np.float32))
    found = measure(data, embedding, "kind", 0)
    assert [e.metric for e in found.estimates] == list(OBSERVERS.values())
    assert "1 of 60 sequences are not known" in found.note


def test_the_probe_reports_the_same_values(logistic: tuple[Path, Path, float]) -> None:
    table, labels, _ = logistic
    frame = pl.read_csv(labels, separator="\t")
    sequences = dict.fromkeys(frame["id"], "ACDEFGHIKL" * 3)
    data = Dataset.from_labels(frame, "labels", sequences=sequences)
    vectors = pl.read_parquet(table).drop("id").to_numpy()
    metrics = evaluate(data, [Embedding("x", data.ids, vectors)], tasks=["usable-information"], replicates=100).to_polars()
    values = {r["metric"]: r["value"] for r in metrics.filter(pl.col("embedding") == "x").to_dicts()}
    expected = {row.observer: row.usable_nats for row in usable(table, labels, column="kind", replicates=50)}
    assert values["linear, nats"] == pytest.approx(expected["linear"], abs=1e-6)
    assert values["k-NN, nats"] == pytest.approx(expected["knn"], abs=1e-6)
    # A constant composition knows nothing, so all of the information is beyond it.
    assert values["linear given composition, nats"] == pytest.approx(expected["linear"], abs=0.01)


def test_groups_are_kept_together_and_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    group = np.repeat(np.arange(40), 10)
    # Vectors tell the group, and the class is that of the group: without groups it is known, with them it is not.
    table = write(tmp_path, "x.parquet", rng.normal(size=(40, 8))[group] * 3 + 0.05 * rng.normal(size=(400, 8)))
    labels = label(tmp_path, rng.integers(2, size=40)[group], group=[f"g{k}" for k in group])
    options = {"column": "kind", "observers": ("knn",), "replicates": 50}
    (free,), (grouped,) = (list(usable(table, labels, **options)), list(usable(table, labels, group_by="group", **options)))
    assert free.usable_nats > 0.5 and grouped.usable_nats < 0.2
    assert grouped.groups == 40


def test_what_cannot_be_measured_is_explained(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    table, labels = write(tmp_path, "x.parquet", rng.normal(size=(40, 2))), label(tmp_path, np.arange(40) % 2)
    for options, error, match in (
        ({}, UsageError, "no column"),
        ({"column": "colour"}, BadInputError, "colour"),
        ({"column": "kind", "observers": ("forest",)}, UsageError, "forest"),
    ):
        with pytest.raises(error, match=match):
            list(usable(table, labels, **options))
    frame = pl.read_parquet(table).with_columns(pl.col("id") + "x")
    frame.write_parquet(tmp_path / "other.parquet")
    with pytest.raises(BadInputError, match="in common"):
        list(usable(tmp_path / "other.parquet", labels, column="kind"))
    with pytest.raises(BadInputError, match=r"other\.parquet and .*labels\.tsv with .*x\.parquet have no id in common"):
        list(usable(table, labels, given=tmp_path / "other.parquet", column="kind"))
    few = label(tmp_path, np.arange(40) // 3)
    with pytest.raises(BadInputError, match="fewer than two classes"):
        list(usable(table, few, column="kind"))
    with pytest.raises(UsageError, match=r"items\.docx"):  # before anything is measured
        run_usable(table, labels, tmp_path / "rows.json", MiUsableConfig(column="kind"), pointwise=tmp_path / "items.docx")
    assert not (tmp_path / "rows.json").exists()
