"""Linear and nearest-neighbour classification: logistic regression with inner validation, and k-NN."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.probe.tasks._folds import FOLDS, Fold, folds, has_training_split
from phylocli.probe.tasks._linear import MANY_CLASSES, ROUGH, logistic
from phylocli.statistics.bootstrap import Estimate, mean_estimate
from phylocli.statistics.ranking import RankedClasses
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ORDER = 30
TITLE = "Classification"
METRICS = {
    "accuracy": Metric(
        "Fraction of sequences that a logistic regression on the embeddings classifies correctly. Its penalty is chosen on "
        "validation items, never on test items. Chance: always the largest class."
    ),
    "macro-F1": Metric(
        "F1 (harmonic mean of precision and recall) of each class by the same logistic regression, averaged over classes, "
        "so that small classes count as much as large ones."
    ),
    "macro AUPRC": Metric(
        "Average precision of ranking all scored sequences by the probability of a class, averaged over classes. Chance: "
        "the frequency of each class."
    ),
    "information, nats": Metric(
        "Mutual information of embedding and label captured by the regression: the entropy of the test labels (the maximum) "
        "minus the cross entropy of the regression (a lower bound; Barber & Agakov 2003). Negative if the regression is "
        "confident but wrong."
    ),
    "calibration error": Metric(
        "Expected calibration error: difference between the confidence and the accuracy of the regression, "
        "averaged over 15 bins of confidence (Guo et al. 2017, arXiv 1706.04599); 0 is perfectly calibrated.",
        "lower",
    ),
    "top-5 accuracy": Metric(
        "Fraction of sequences whose class is among the five most probable ones by the logistic regression."
    ),
    "5-NN accuracy": Metric(
        "Fraction of sequences classified correctly by their five nearest neighbours in the training part (cosine, votes "
        "weighted by distance). Nothing is fitted, so this evaluates the distances themselves."
    ),
}
PENALTIES = (0.001, 0.01, 0.1, 1.0)
MAX_TRAIN = 20_000
MAX_SCORED = 10_000
"""Maximum number of test items of a fold; the standard error of an accuracy is then at most 0.005."""
MAX_CLASSES = 5_000
"""Maximum number of classes of a column if the labels have a split."""
MAX_LEARNED = 1_000
"""Maximum number of classes in cross-validation, the largest ones; each has then about twenty training members or more."""
NEIGHBOURS = 5
DOUBT = 1e-3
"""Probability mass distributed uniformly over all classes before the logarithm is taken."""


def usable_rows(data: Dataset, level: str) -> IntArray:
    """Return the rows to use: all labelled rows with a split, otherwise those of classes that can be cross-validated.

    Such classes have a member for every fold and, if groups are kept together, members in at least two groups, so that they
    can be in both the training and the test part. At most `MAX_LEARNED` classes, the largest ones, are used.
    """
    codes = data.classes[level]
    if has_training_split(data):
        return np.flatnonzero(codes >= 0)
    within = data.evaluated_rows()
    within = within[codes[within] >= 0]
    sizes = np.bincount(codes[within], minlength=1)
    keep = sizes >= FOLDS
    if data.split_by is not None:
        pairs = np.unique(np.stack([codes[within], data.groups_of(data.split_by, within)]), axis=1)
        keep &= np.bincount(pairs[0], minlength=len(keep)) >= 2
    largest = np.argsort(-(sizes * keep), kind="stable")[MAX_LEARNED:]
    keep[largest] = False
    return within[keep[codes[within]]]


def levels(data: Dataset) -> list[str]:
    """Return the columns with at least two and at most `MAX_CLASSES` usable classes."""
    found = []
    for column in data.classes:
        if column == data.split_by:
            continue
        rows = usable_rows(data, column)
        seen = data.classes[column][rows]
        if has_training_split(data):
            assert data.split is not None
            split = np.array(data.split, dtype=object)[rows]
            if not (split == data.evaluate).any():
                continue
            seen = seen[split == "train"]
        classes = len(np.unique(seen))
        if classes > MAX_CLASSES:
            logger.warning(
                f"skipping {column}: a linear probe has at most {MAX_CLASSES:,} classes, {column} has {classes:,}"
            )
        elif classes >= 2:
            found.append(column)
    return found


def macro_f1(truth: IntArray, predicted: IntArray) -> float:
    """Return the mean F1 over the classes that occur in `truth`, shape (n,) codes each."""
    size = int(max(truth.max(), predicted.max())) + 1
    right = np.bincount(truth[truth == predicted], minlength=size)
    true = np.bincount(truth, minlength=size)
    said = np.bincount(predicted, minlength=size)
    present = true > 0
    return float(np.mean(2 * right[present] / (true[present] + said[present])))


def calibration_error(confidence: FloatArray, right: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error with bins of equal width.

    Args:
        confidence: probability of the predicted class, shape (n,).
        right: whether the prediction is correct, shape (n,).
        bins: number of bins.
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def entropy(codes: IntArray) -> float:
    """Return the entropy of the frequencies of codes, (n,), in nats."""
    frequency = np.unique(codes, return_counts=True)[1] / len(codes)
    return float(-(frequency * np.log(frequency)).sum())


def _decisions(model: Any, x: npt.NDArray[np.float32]) -> FloatArray:
    """Return the decision value of each of the model's classes, shape (n, classes)."""
    chances = np.asarray(model.decision_function(x), dtype=np.float64)
    return np.stack([-chances / 2, chances / 2], axis=1) if chances.ndim == 1 else chances  # two classes have one column


def _known_probabilities(model: Any, x: npt.NDArray[np.float32], size: int | None = None) -> FloatArray:
    """Return the probability of each code, 0 for codes unknown to the model, shape (n, size)."""
    chances = _decisions(model, x)
    values = np.exp(chances - chances.max(axis=1, keepdims=True))
    found = np.zeros((len(x), size if size is not None else int(model.classes_.max()) + 1))
    found[:, model.classes_] = values / values.sum(axis=1, keepdims=True)
    return found


def _own_log(probability: FloatArray, truth: IntArray) -> FloatArray:
    """Return the log probability of each item's class, shape (n,).

    Probabilities are smoothed by `DOUBT`, because a class that is missing from the training part would have −inf.
    """
    known = truth < probability.shape[1]
    own = np.where(known, probability[np.arange(len(truth)), np.where(known, truth, 0)], 0.0)
    return np.asarray(np.log((1 - DOUBT) * own + DOUBT / probability.shape[1]), dtype=np.float64)


def _logistic(x: npt.NDArray[np.float32], codes: IntArray, fold: Fold, seed: int) -> tuple[object, npt.NDArray[np.float32]]:
    """Return the model with the penalty that is best on validation items, and the standardised test features."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    train, valid = fold.train, fold.valid
    if len(valid):
        inner = train
    else:
        counts = np.bincount(codes[train])
        splittable = train[counts[codes[train]] >= 2]  # stratification needs two members per class
        fraction = max(0.15, min(0.5, len(np.unique(codes[splittable])) / max(1, len(splittable))))
        _, valid = train_test_split(splittable, test_size=fraction, random_state=seed, stratify=codes[splittable])
        inner = np.setdiff1d(train, valid)
    scaler = StandardScaler().fit(x[inner])
    learned, held = scaler.transform(x[inner]), scaler.transform(x[valid])
    models: list[Any] = []
    scores = []
    for penalty in PENALTIES:
        models.append(logistic(learned, codes[inner], penalty, models[-1] if models else None, ROUGH))
        # Ties in accuracy are broken by the probability of the true class.
        own = _own_log(_known_probabilities(models[-1], held), codes[valid])
        scores.append((models[-1].score(held, codes[valid]), own.mean()))
    best = max(range(len(scores)), key=scores.__getitem__)
    if not len(fold.valid):
        scaler = StandardScaler().fit(x[train])
        learned = scaler.transform(x[train])
    elif len(models[best].classes_) <= MANY_CLASSES:  # already fitted to all training items, to full tolerance
        return models[best], scaler.transform(x[fold.test])
    model = logistic(learned, codes[train], PENALTIES[best], models[best])
    return model, scaler.transform(x[fold.test])


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on the training rows of each fold and score its test rows; every item is scored once."""
    from sklearn.neighbors import KNeighborsClassifier

    rows = usable_rows(data, level)
    codes = np.full(len(data), -1, dtype=np.int64)
    used, codes[rows] = np.unique(data.classes[level][rows], return_inverse=True)
    parts, said = folds(data, rows, seed, codes[rows])
    x = embedding.vectors
    unit = embedding.unit_rows()
    scored, predicted, ranks, neighbours, majority, probabilities = [], [], [], [], [], []
    for fold in parts:
        if len(fold.train) > MAX_TRAIN:
            fold.train = subsample(fold.train, MAX_TRAIN, seed)
            said += f", {MAX_TRAIN:,} randomly sampled training items"
        if len(parts) == 1 and not has_training_split(data):
            fold.test = subsample(fold.test, MAX_SCORED, seed)
        model, test = _logistic(x, codes, fold, seed)
        chances = _decisions(model, test)
        classes = model.classes_  # type: ignore[attr-defined]
        truth = codes[fold.test]
        own = np.searchsorted(classes, truth).clip(max=len(classes) - 1)
        known = classes[own] == truth
        score = np.take_along_axis(chances, own[:, None], axis=1)
        # Classes that are missing from the training part are never predicted.
        ranks.append(np.where(known, (chances > score).sum(axis=1), len(classes)))
        predicted.append(classes[chances.argmax(axis=1)])
        probabilities.append(_known_probabilities(model, test, len(used)))
        near = KNeighborsClassifier(min(NEIGHBOURS, len(fold.train)), metric="cosine", weights="distance", algorithm="brute")
        neighbours.append(near.fit(unit[fold.train], codes[fold.train]).predict(unit[fold.test]) == truth)
        majority.append(truth == np.bincount(codes[fold.train]).argmax())
        scored.append(fold.test)
    test_rows = np.concatenate(scored)
    truth, guess = codes[test_rows], np.concatenate(predicted)
    rank = np.concatenate(ranks)
    probability = np.concatenate(probabilities)
    confidence, right = probability.max(axis=1), guess == truth
    is_class = truth[:, None] == np.arange(probability.shape[1])
    ranked = RankedClasses(probability, is_class)
    own_log = _own_log(probability, truth)
    count = len(np.unique(codes[np.concatenate([f.train for f in parts])]))
    estimates = [
        mean_estimate("accuracy", right, test_rows, float(np.concatenate(majority).mean())),
        Estimate(
            "macro-F1",
            macro_f1(truth, guess),
            len(truth),
            statistic=lambda index: macro_f1(truth[index], guess[index]),
            rows=test_rows,
            interval="normal",
            bounds=(0.0, 1.0),
        ),
        Estimate(
            "macro AUPRC",
            ranked.average_precision(),
            len(truth),
            statistic=ranked.average_precision,
            rows=test_rows,
            chance=float(is_class.mean(axis=0)[is_class.any(axis=0)].mean()),
            interval="normal",  # resampled duplicates bias the precision of small classes upwards
            bounds=(0.0, 1.0),
            replicates=50,
        ),
        Estimate(
            "information, nats",
            entropy(truth) + float(own_log.mean()),
            len(truth),
            statistic=lambda index: entropy(truth[index]) + float(own_log[index].mean()),
            rows=test_rows,
            chance=0.0,
            interval="normal",  # resampling with replacement reduces the entropy
            replicates=500,
        ),
        Estimate(
            "calibration error",
            calibration_error(confidence, right),
            len(truth),
            statistic=lambda index: calibration_error(confidence[index], right[index]),
            rows=test_rows,
            interval="normal",
            bounds=(0.0, 1.0),
        ),
        mean_estimate("5-NN accuracy", np.concatenate(neighbours), test_rows, float(np.concatenate(majority).mean())),
    ]
    if count > 10:
        estimates.append(mean_estimate("top-5 accuracy", rank < 5, test_rows))
    largest = "the largest " if count == MAX_LEARNED < len(data.class_names[level]) else ""
    said = f"{largest}{counted(count, 'class')}; the entropy of the test labels is {entropy(truth):.2f} nats; {said}"
    return Measurement(estimates, note=f"{counted(len(truth), 'sequence')} of {said}")
