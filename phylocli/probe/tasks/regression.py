"""Ridge regression and nearest-neighbour regression of a quantity on the embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import SEARCH_BLOCK, Measurement, Metric
from phylocli.probe.tasks._folds import FOLDS, Fold, folds, has_training_split
from phylocli.statistics.bootstrap import Estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ORDER = 60
TITLE = "Regression"
METRICS = {
    "Spearman": Metric("Rank correlation of predicted and measured values: 1 is perfect, 0 is random."),
    "R²": Metric("Fraction of the variance explained by the prediction: 1 is perfect, 0 is no better than the mean."),
    "RMSE": Metric("Root of the mean squared error, in the unit of the label.", "lower"),
    "k-NN Spearman": Metric(
        "Rank correlation with predictions by the weighted mean of the nearest neighbours in the training part (cosine; 1, "
        "5 or 20 neighbours, chosen on validation items). Nothing is fitted, so this evaluates the distances themselves."
    ),
}
PENALTIES = np.logspace(-2, 5, 15)
NEIGHBOURS = (1, 5, 20)
MAX_TRAIN = 50_000
MAX_HELD = 2_000
"""Maximum number of validation items for choosing the number of neighbours."""


def _rows(data: Dataset, level: str) -> IntArray:
    known = np.flatnonzero(np.isfinite(data.values[level]))
    return known if has_training_split(data) else np.intersect1d(known, data.evaluated_rows())


def levels(data: Dataset) -> list[str]:
    """Return the columns of quantities with enough items for training and test."""
    found = []
    for column in data.values:
        rows = _rows(data, column)
        parts = folds(data, rows, 0)[0] if len(rows) >= 2 * FOLDS else []
        if parts and all(len(f.train) >= FOLDS and len(f.test) >= 2 for f in parts):
            found.append(column)
    return found


def neighbour_means(
    unit: npt.NDArray[np.float32], values: FloatArray, train: IntArray, wanted: IntArray, counts: tuple[int, ...]
) -> FloatArray:
    """Return the weighted mean of the values of each row's nearest training rows, for each number of neighbours.

    The weight of a neighbour is (1 + cosine)/2. If there are fewer training rows than neighbours, all of them are used.

    Args:
        unit: unit vectors, shape (n, D).
        values: value of each row, shape (n,).
        train: training rows.
        wanted: rows to predict.
        counts: numbers of neighbours, ascending.

    Returns:
        Predictions, shape (counts, wanted).
    """
    found = np.zeros((len(counts), len(wanted)))
    most = min(counts[-1], len(train))
    known, columns = values[train], unit[train].T
    step = max(1, SEARCH_BLOCK // len(train))
    for start in range(0, len(wanted), step):
        cosine = unit[wanted[start : start + step]] @ columns
        near = np.argpartition(-cosine, most - 1, axis=1)[:, :most]
        score = np.take_along_axis(cosine, near, axis=1)
        order = np.lexsort((near, -score))  # break ties by position, because argpartition orders them arbitrarily
        near = np.take_along_axis(near, order, axis=1)
        weight = np.maximum((1 + np.take_along_axis(score, order, axis=1)) / 2, 1e-6).astype(np.float64)
        for place, count in enumerate(counts):
            w = weight[:, :count]
            found[place, start : start + step] = (w * known[near[:, :count]]).sum(axis=1) / w.sum(axis=1)
    return found


def _spearman(a: FloatArray, b: FloatArray) -> float:
    """Return the rank correlation; 0 if one of the arrays is constant."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0


def _neighbours(embedding: Embedding, values: FloatArray, fold: Fold, seed: int) -> FloatArray:
    """Return predictions for the test rows of a fold with the number of neighbours that is best on validation rows."""
    unit = embedding.unit_rows()
    if len(fold.valid):
        inner, held = fold.train, fold.valid
    else:
        order = np.random.default_rng(seed).permutation(fold.train)
        cut = max(1, len(order) * 3 // 20)
        inner, held = order[cut:], order[:cut]
    inner, held = subsample(inner, MAX_TRAIN, seed), subsample(held, MAX_HELD, seed)
    tried = neighbour_means(unit, values, inner, held, NEIGHBOURS)
    best = NEIGHBOURS[int(np.argmax([_spearman(values[held], guess) for guess in tried]))]
    train = subsample(np.concatenate([fold.train, fold.valid]), MAX_TRAIN, seed)
    return neighbour_means(unit, values, train, fold.test, (best,))[0]


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on the training rows of each fold (penalty by leave-one-out within them) and score its test rows."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    values = data.values[level]
    parts, said = folds(data, _rows(data, level), seed)
    predicted, nearby, scored, base = [], [], [], []
    for fold in parts:
        train = subsample(np.concatenate([fold.train, fold.valid]), MAX_TRAIN, seed)
        scaler = StandardScaler().fit(embedding.vectors[train])
        model = RidgeCV(PENALTIES).fit(scaler.transform(embedding.vectors[train]).astype(np.float64), values[train])
        predicted.append(model.predict(scaler.transform(embedding.vectors[fold.test])))
        nearby.append(_neighbours(embedding, values, fold, seed))
        base.append(np.full(len(fold.test), values[train].mean()))
        scored.append(fold.test)
    rows = np.concatenate(scored)
    truth, guess, mean = values[rows], np.concatenate(predicted), np.concatenate(base)
    close = np.concatenate(nearby)

    def spearman(index: IntArray) -> float:
        return _spearman(truth[index], guess[index])

    def by_neighbours(index: IntArray) -> float:
        return _spearman(truth[index], close[index])

    def explained(index: IntArray) -> float:
        spread = truth[index].var()
        return float(1 - np.mean((truth[index] - guess[index]) ** 2) / spread) if spread > 0 else float("nan")

    def error(index: IntArray) -> float:
        return float(np.sqrt(np.mean((truth[index] - guess[index]) ** 2)))

    whole = np.arange(len(rows))
    n = len(rows)
    plain = float(np.sqrt(np.mean((truth - mean) ** 2)))
    estimates = [
        Estimate("Spearman", spearman(whole), n, statistic=spearman, rows=rows, chance=0.0),
        Estimate("R²", explained(whole), n, statistic=explained, rows=rows, chance=0.0),
        Estimate("RMSE", error(whole), n, statistic=error, rows=rows, chance=plain),
        Estimate("k-NN Spearman", by_neighbours(whole), n, statistic=by_neighbours, rows=rows, chance=0.0),
    ]
    return Measurement(estimates, note=f"{counted(n, 'sequence')}; {said}")
