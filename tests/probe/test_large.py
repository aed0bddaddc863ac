"""Probes of many items: bounded memory, and agreement with the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from phylocli.probe import Dataset, Embedding
from phylocli.probe.tasks import _folds, classification, regression, retrieval


def items(n: int, **columns: list[object]) -> Dataset:
    import polars as pl

    from phylocli.probe import Dataset

    return Dataset.from_labels(pl.DataFrame({"id": [f"p{i}" for i in range(n)], **columns}, strict=False), "labels")


def test_means_of_neighbours_are_scikit_learns() -> None:
    from sklearn.neighbors import KNeighborsRegressor

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(120, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values, train, wanted = rng.normal(size=120), np.arange(90), np.arange(90, 120)
    found = regression.neighbour_means(unit, values, train, wanted, (1, 5, 20))
    for row, count in zip(found, (1, 5, 20), strict=True):
        # scikit-learn's cosine distance is 1 − cosine, so that (1 + cosine)/2 is 1 − distance/2
        model = KNeighborsRegressor(count, metric="cosine", weights=lambda d: 1 - d / 2)
        assert row == pytest.approx(model.fit(unit[train], values[train]).predict(unit[wanted]), abs=1e-5)
    few = regression.neighbour_means(unit, values, train[:3], wanted, (1, 5, 20))
    assert few[1] == pytest.approx(few[2])  # all there are


def test_nearest_neighbours_predict_a_nonlinear_quantity() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 400)
    data = items(400, bend=np.cos(4 * angle).tolist())
    circle = Embedding("e", data.ids, np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32))
    found = {e.metric: e for e in regression.measure(data, circle, "bend", 0).estimates}
    assert found["k-NN Spearman"].value > 0.95
    assert abs(found["Spearman"].value) < 0.3


def test_of_very_many_items_one_fold_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_folds, "ONE_FOLD", 200)
    monkeypatch.setattr(classification, "MAX_LEARNED", 10)
    monkeypatch.setattr(classification, "MAX_SCORED", 30)
    label = np.concatenate([np.repeat(np.arange(10), 24), np.repeat(np.arange(10, 30), 6)])
    data = items(len(label), kind=[f"k{c:02d}" for c in label])
    vectors = np.eye(30)[label] + 0.1 * np.random.default_rng(0).normal(size=(len(label), 30))
    found = classification.measure(data, Embedding("e", data.ids, vectors.astype(np.float32)), "kind", 0)
    accuracy = next(e for e in found.estimates if e.metric == "accuracy")
    assert accuracy.value > 0.9 and accuracy.n == 30
    assert accuracy.rows is not None and set(label[accuracy.rows]) <= set(range(10))
    assert "the largest 10 classes" in found.note and "one fold of a 5-fold cross-validation" in found.note


def test_negatives_above_are_counted_as_if_the_rest_were_not_there() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        every = rng.integers(0, 12, 60).astype(np.float32)  # many ties
        every[rng.integers(0, 60, 5)] = -np.inf  # what a search did not find
        same = rng.choice(60, 15, replace=False)
        positive, negative = every[same[:8]], np.delete(every, same)
        expected = [(negative >= p).sum() for p in np.sort(positive)[::-1]]
        assert retrieval._negatives_above(positive, every, every[same]).tolist() == expected
