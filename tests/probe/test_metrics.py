"""The figures of probes that learn, each against scikit-learn or its definition on the very predictions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.stats
from sklearn import metrics as reference
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from phylocli.probe import Dataset, Embedding
from phylocli.probe.tasks import classification, multilabel, regression
from phylocli.statistics.ranking import Ranked

TRAIN, TEST = 120, 60
SPLIT = ["train"] * TRAIN + ["test"] * TEST


def items(column: str, values: list[object]) -> Dataset:
    ids = [f"s{i}" for i in range(TRAIN + TEST)]
    return Dataset.from_labels(pl.DataFrame({"id": ids, column: values, "split": SPLIT}), "labels")


def vectors(seed: int, dimension: int = 5) -> Embedding:
    x = np.random.default_rng(seed).normal(size=(TRAIN + TEST, dimension)).astype(np.float32)
    return Embedding("e", [f"s{i}" for i in range(len(x))], x)


class Fixed:
    """A model whose decision values are given, whatever is asked."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits, self.classes_ = logits, np.arange(logits.shape[1])

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return self.logits


def test_metrics_of_classification_are_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    label = np.r_[np.arange(12), rng.integers(0, 12, TRAIN + TEST - 12)]
    truth, e = label[TRAIN:], vectors(1)
    logits = rng.normal(size=(TEST, 12)) + 1.5 * (truth[:, None] == np.arange(12))
    monkeypatch.setattr(classification, "_logistic", lambda x, codes, fold, seed: (Fixed(logits), x[fold.test]))
    data = items("kind", [f"k{c:02d}" for c in label])
    found = {f.metric: f.value for f in classification.measure(data, e, "kind", 0).estimates}

    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    guess, present = logits.argmax(axis=1), np.unique(truth)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert found["macro-F1"] == pytest.approx(reference.f1_score(truth, guess, labels=present, average="macro"))
    assert found["top-5 accuracy"] == pytest.approx(reference.top_k_accuracy_score(truth, logits, k=5, labels=np.arange(12)))
    areas = [reference.average_precision_score(truth == c, chances[:, c]) for c in present]
    assert found["macro AUPRC"] == pytest.approx(np.mean(areas))
    doubted = (1 - classification.DOUBT) * chances + classification.DOUBT / 12
    entropy = scipy.stats.entropy(np.bincount(truth))
    cost = reference.log_loss(truth, doubted, labels=np.arange(12))
    assert found["information, nats"] == pytest.approx(entropy - cost)
    near = KNeighborsClassifier(5, metric="cosine", weights="distance").fit(e.vectors[:TRAIN], label[:TRAIN])
    assert found["5-NN accuracy"] == pytest.approx(near.score(e.vectors[TRAIN:], truth))

    confidence, gap = chances.max(axis=1), 0.0
    for k in range(15):  # the definition, bin by bin
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        if inside.any():
            gap += inside.mean() * abs(confidence[inside].mean() - (guess == truth)[inside].mean())
    assert found["calibration error"] == pytest.approx(gap)


def test_metrics_of_regression_are_those_of_scikit_learn_and_scipy() -> None:
    e = vectors(2)
    value = e.vectors[:, 0] * 2 + np.random.default_rng(3).normal(size=TRAIN + TEST)
    found = {f.metric: f for f in regression.measure(items("heat", value.tolist()), e, "heat", 0).estimates}
    scaler = StandardScaler().fit(e.vectors[:TRAIN])
    model = RidgeCV(regression.PENALTIES).fit(scaler.transform(e.vectors[:TRAIN]).astype(float), value[:TRAIN])
    guess, truth = model.predict(scaler.transform(e.vectors[TRAIN:]).astype(float)), value[TRAIN:]
    assert found["Spearman"].value == pytest.approx(scipy.stats.spearmanr(truth, guess).statistic, abs=1e-4)
    assert found["R²"].value == pytest.approx(reference.r2_score(truth, guess), abs=1e-4)
    assert found["RMSE"].value == pytest.approx(reference.root_mean_squared_error(truth, guess), rel=1e-4)
    plain = reference.root_mean_squared_error(truth, np.full(TEST, value[:TRAIN].mean()))
    assert found["RMSE"].chance == pytest.approx(plain)


def test_metrics_of_terms_are_scikit_learns_and_neighbours_vote_by_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, e = np.random.default_rng(4), vectors(5)
    member = rng.random((TRAIN + TEST, 6)) < 0.35
    member[~member.any(axis=1), 0] = True
    data = items("go", [";".join(f"GO:{t}" for t in np.flatnonzero(row)) for row in member])
    scores = rng.random((TEST, 6)).astype(np.float32)
    predicted = multilabel._predicted

    def with_these(*arguments: object) -> tuple[np.ndarray, ...]:
        _, neighbours, plain = predicted(*arguments)  # type: ignore[arg-type]
        unit, truth = e.unit_rows().astype(float), member[:TRAIN].astype(float)
        for row in range(TEST):  # the definition, protein by protein
            cosine = unit[:TRAIN] @ unit[TRAIN + row]
            best = np.argsort(-cosine)[:5]
            weight = np.maximum(cosine[best], 0)
            assert neighbours[row] == pytest.approx((weight[:, None] * truth[best]).sum(axis=0) / weight.sum(), abs=1e-5)
        return scores, neighbours, plain

    monkeypatch.setattr(multilabel, "_predicted", with_these)
    found = {f.metric: f.value for f in multilabel.measure(data, e, "go", 0).estimates}
    truth = member[TRAIN:]
    for average in ("micro", "macro"):
        assert found[f"{average} AUPRC"] == pytest.approx(reference.average_precision_score(truth, scores, average=average))


def test_precision_at_recall_is_read_off_scikit_learns_curve() -> None:
    rng = np.random.default_rng(6)
    truth = rng.random(400) < 0.4
    for scores in (truth + rng.normal(size=400), np.round(truth + rng.normal(size=400))):
        precision, recall, _ = reference.precision_recall_curve(truth, scores)
        expected = precision[recall >= 0.5][-1]  # the highest threshold that still finds half of them
        assert Ranked(scores, truth, np.arange(400), 400).precision_at(0.5) == pytest.approx(expected)
