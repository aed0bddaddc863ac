"""Usable information about a class for linear, perceptron and nearest-neighbour observers, in nats; on request only.

    I_V(X → Y) = H_V(Y) - H_V(Y | X),   pointwise:  log q(y | x) - log f(y)

Xu et al. 2020, A theory of usable information under computational constraints (arXiv 2002.10689); pointwise: Ethayarajh
et al. 2022 (arXiv 2110.08420). q is the best predictor of the family V that was found on training items, and f that of
the same family without input: the class frequencies. Unlike mutual information, it may increase by computation, which is
the point of an embedding. Given Z, it is the gain of X over Z alone: I_V(X → Y | Z) = H_V(Y | Z) - H_V(Y | X, Z).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.baselines.composition import embed
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks import classification
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.probe.tasks._folds import Fold, folds
from phylocli.probe.tasks._linear import ROUGH, logistic
from phylocli.statistics.bootstrap import mean_estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]

ON_REQUEST = True
ORDER = 45
TITLE = "Usable information"
_ABOUT = (
    "Entropy of the class frequencies minus the cross entropy of {}, on test items: the information about the class that "
    "this observer can use (Xu et al. 2020, arXiv 2002.10689). Calibrated on a fifth of the training items."
)
METRICS = {
    "linear, nats": Metric(_ABOUT.format("a logistic regression")),
    "MLP, nats": Metric(_ABOUT.format("a perceptron with one hidden layer of 256 units")),
    "k-NN, nats": Metric(_ABOUT.format("the class frequencies among the nearest neighbours (cosine; 1 to 50)")),
    "linear given composition, nats": Metric(
        "The same of a logistic regression on embedding and amino-acid composition, minus that on composition alone: what "
        "the embedding adds."
    ),
}
OBSERVERS = {"linear": "linear, nats", "mlp": "MLP, nats", "knn": "k-NN, nats"}
"""The families of predictors, and the metric of each."""
NEIGHBOURS = (1, 5, 15, 50)
HIDDEN = 256
VALID = 0.2
_TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
_WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)


@dataclass
class Usable:
    """Usable information of each test item.

    Attributes:
        rows: row of each item, (n,).
        nats: its pointwise information, (n,); the mean is the usable information.
        surprise: -log f(y) of each item's class, (n,); the mean is the entropy of the classes for an observer without input.
    """

    rows: IntArray
    nats: FloatArray
    surprise: FloatArray


def levels(data: Dataset) -> list[str]:
    """Return the levels of the linear probe."""
    return classification.levels(data)


def usable_information(
    data: Dataset, vectors: Vectors, level: str, observer: str, seed: int, given: Vectors | None = None
) -> tuple[Usable, str]:
    """Return the usable information of each item, and a description of the folds.

    Args:
        data: the items.
        vectors: X, (n, D).
        level: the column of classes, Y.
        observer: of `OBSERVERS`.
        seed: of folds, subsamples and weights.
        given: Z, (n, E), for conditional information.
    """
    rows = classification.usable_rows(data, level)
    codes = np.full(len(data), -1, dtype=np.int64)
    names, codes[rows] = np.unique(data.classes[level][rows], return_inverse=True)
    groups = None if data.split_by is None else data.groups_of(data.split_by, np.arange(len(data)))
    parts, said = folds(data, rows, seed, codes[rows])
    test, nats, surprise, unlearned = [], [], [], 0
    for fold in parts:
        inner = _with_validation(fold, codes, groups, seed)
        unlearned += not _learnable(inner, codes)
        counts = np.bincount(codes[np.concatenate([inner.train, inner.valid])], minlength=len(names))
        null = np.asarray((counts + 0.5) / (counts + 0.5).sum(), dtype=np.float64)
        own = -np.log(null[codes[inner.test]])
        if given is None:
            value = own + _log_probability(observer, vectors, codes, inner, null, seed)
        else:
            both = np.concatenate([vectors, given], axis=1)
            value = _log_probability(observer, both, codes, inner, null, seed)
            value -= _log_probability(observer, given, codes, inner, null, seed)
        test.append(inner.test)
        nats.append(value)
        surprise.append(own)
    if unlearned:
        said += f"; {counted(unlearned, 'fold')} with too few training items of two classes, whose items count 0 nats"
    return Usable(np.concatenate(test), np.concatenate(nats), np.concatenate(surprise)), said


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit each observer on the training rows of each fold and score its test rows."""
    estimates, missing = [], 0
    conditions: list[tuple[str, str, Vectors | None]] = [(name, metric, None) for name, metric in OBSERVERS.items()]
    rows = classification.usable_rows(data, level)
    names = [data.ids[row] for row in rows]
    missing = sum(name not in data.sequences for name in names)
    if not missing:
        known = embed("composition", names, [data.sequences[name] for name in names]).vectors
        composition = np.zeros((len(data), known.shape[1]), dtype=np.float32)
        composition[rows] = known
        conditions.append(("linear", "linear given composition, nats", composition))
    for observer, metric, given in conditions:
        found, said = usable_information(data, embedding.vectors, level, observer, seed, given)
        estimates.append(mean_estimate(metric, found.nats, found.rows, 0.0))
    # Items, classes and folds are the same for all observers.
    entropy = f"the entropy of the class frequencies is {found.surprise.mean():.2f} nats"
    note = f"{counted(len(found.rows), 'sequence')}; {entropy}; {said}"
    if missing:
        note += f"; no value given composition, because {missing:,} of {len(names):,} sequences are not known"
    return Measurement(estimates, note=note)


def _with_validation(fold: Fold, codes: IntArray, groups: IntArray | None, seed: int) -> Fold:
    """Return the fold with at most `MAX_TRAIN` training rows, and a fifth of them for validation if it has none.

    Whole groups are held out if at least two classes remain, otherwise items; then, if need be, each class keeps one.
    """
    train = subsample(fold.train, classification.MAX_TRAIN, seed)
    if len(fold.valid):
        return Fold(train, fold.valid, fold.test)
    if groups is not None:
        held = _fifth(np.unique(groups[train], return_inverse=True)[1], seed)
        if len(np.unique(codes[train[~held]])) >= 2:
            return Fold(train[~held], train[held], fold.test)
    held = _fifth(np.arange(len(train)), seed)
    if len(np.unique(codes[train[~held]])) < 2:
        held[np.unique(codes[train], return_index=True)[1]] = False
    return Fold(train[~held], train[held], fold.test)


def _fifth(units: IntArray, seed: int) -> npt.NDArray[np.bool_]:
    """Return which items are in a random fifth of the units 0, 1, …, at least one; (n,)."""
    count = units.max() + 1
    drawn = np.random.default_rng(seed).permutation(count) < max(1, round(VALID * count))
    return np.asarray(drawn[units], dtype=bool)


def _learnable(fold: Fold, codes: IntArray) -> bool:
    """Return whether an observer can be fitted to the training rows, at least two classes, and calibrated on others."""
    return len(fold.valid) > 0 and len(np.unique(codes[fold.train])) >= 2


def _log_probability(
    observer: str, vectors: Vectors, codes: IntArray, fold: Fold, null: FloatArray, seed: int
) -> FloatArray:
    """Return log q(y | x) of the test rows, (test,), by the predictor that is best on the validation rows.

    An observer may ignore its input in part (Xu et al. 2020, definition 1): q is a mixture with the frequencies `null`, at a
    temperature; both are chosen with the observer's own parameters. Where nothing can be learned, q is `null`.
    """
    if not _learnable(fold, codes):
        return np.asarray(np.log(null[codes[fold.test]]), dtype=np.float64)
    best, chosen = -np.inf, np.zeros(len(fold.test))
    for valid, test in _probabilities(observer, vectors, codes, fold, len(null), seed):
        for temperature in _TEMPERATURES:
            held, scored = _tempered(valid, temperature), _tempered(test, temperature)
            for weight in _WEIGHTS:
                now = _own(held, codes[fold.valid], null, weight).mean()
                if now > best:
                    best, chosen = float(now), _own(scored, codes[fold.test], null, weight)
    return chosen


def _tempered(probability: FloatArray, temperature: float) -> FloatArray:
    raised = probability ** (1 / temperature)
    return raised / np.maximum(raised.sum(axis=1, keepdims=True), 1e-300)


def _own(probability: FloatArray, truth: IntArray, null: FloatArray, weight: float) -> FloatArray:
    own = probability[np.arange(len(truth)), truth]
    return np.asarray(np.log((1 - weight) * own + weight * null[truth]), dtype=np.float64)


def _probabilities(
    observer: str, vectors: Vectors, codes: IntArray, fold: Fold, classes: int, seed: int
) -> list[tuple[FloatArray, FloatArray]]:
    """Return probabilities of the validation and the test rows, (rows, classes), for each setting of the observer."""
    from sklearn.preprocessing import StandardScaler

    found = []
    if observer == "knn":
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        near = {k: [_neighbour_frequencies(unit, codes, fold.train, rows, classes, k) for rows in (fold.valid, fold.test)]
                for k in NEIGHBOURS if k <= len(fold.train)}  # fmt: skip
        return [(valid, test) for valid, test in near.values()]
    scaler = StandardScaler().fit(vectors[fold.train])
    train, valid, test = (scaler.transform(vectors[rows]) for rows in (fold.train, fold.valid, fold.test))
    if observer == "linear":
        models: list[Any] = []
        for penalty in classification.PENALTIES:
            models.append(logistic(train, codes[fold.train], penalty, models[-1] if models else None, ROUGH))
    else:
        models = [_perceptron(train, codes[fold.train], seed)]
    for model in models:
        found.append((_probability(model, valid, classes), _probability(model, test, classes)))
    return found


def _neighbour_frequencies(
    unit: Vectors, codes: IntArray, train: IntArray, rows: IntArray, classes: int, k: int
) -> FloatArray:
    """Return the class frequencies among the k nearest training rows of each row, (rows, classes)."""
    found = np.zeros((len(rows), classes))
    for start in range(0, len(rows), 1024):
        part = rows[start : start + 1024]
        near = np.argpartition(-(unit[part] @ unit[train].T), k - 1, axis=1)[:, :k]
        place = np.arange(start, start + len(part))
        np.add.at(found, (place[:, None], codes[train][near]), 1 / k)
    return found


def _perceptron(x: Vectors, y: IntArray, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    sizes = np.bincount(y)
    few = sizes[sizes > 0].min() < 2 or len(x) // 10 < np.count_nonzero(sizes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return MLPClassifier((HIDDEN,), alpha=1e-3, early_stopping=not few, max_iter=100, random_state=seed).fit(x, y)


def _probability(model: Any, x: Vectors, classes: int) -> FloatArray:
    """Return the probability of each code, 0 for codes unknown to the model, (n, classes)."""
    found = np.zeros((len(x), classes))
    if hasattr(model, "predict_proba"):
        found[:, model.classes_] = model.predict_proba(x)
    else:
        scores = np.asarray(model.decision_function(x), dtype=np.float64)
        values = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[:, model.classes_] = values / values.sum(axis=1, keepdims=True)
    return found
