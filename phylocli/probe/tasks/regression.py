"""Ridge regression of a quantity on the embeddings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.probe.dataset import Dataset
from phylocli.probe.embeddings import Embedding
from phylocli.probe.statistics import Figure
from phylocli.probe.tasks._contract import Measurement, Metric, subsample
from phylocli.probe.tasks._folds import FOLDS, folds, has_training_split

IntArray = npt.NDArray[np.int64]

TITLE = "Regression"
METRICS = {
    "Spearman": Metric("Rank correlation of predicted and measured values: 1 is perfect order, 0 none."),
    "R²": Metric("Share of the variance that the prediction explains: 1 is perfect, 0 is no better than the mean."),
    "RMSE": Metric("Root of the mean squared error, in the unit of the label.", "lower"),
}
PENALTIES = np.logspace(-2, 5, 15)
MAX_TRAIN = 50_000


def _rows(data: Dataset, level: str) -> IntArray:
    known = np.flatnonzero(np.isfinite(data.values[level]))
    return known if has_training_split(data) else np.intersect1d(known, data.evaluated_rows())


def levels(data: Dataset) -> list[str]:
    """Return the columns of quantities with enough items to learn from and to score."""
    found = []
    for column in data.values:
        rows = _rows(data, column)
        parts = folds(data, rows, 0)[0] if len(rows) >= 2 * FOLDS else []
        if parts and all(len(f.train) >= FOLDS and len(f.test) >= 2 for f in parts):
            found.append(column)
    return found


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on each fold's training rows (penalty by leave-one-out within them) and score its test rows."""
    from scipy.stats import rankdata
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    values = data.values[level]
    parts, said = folds(data, _rows(data, level), seed)
    predicted, scored, base = [], [], []
    for fold in parts:
        train = subsample(np.concatenate([fold.train, fold.valid]), MAX_TRAIN, seed)
        scaler = StandardScaler().fit(embedding.vectors[train])
        model = RidgeCV(PENALTIES).fit(scaler.transform(embedding.vectors[train]).astype(np.float64), values[train])
        predicted.append(model.predict(scaler.transform(embedding.vectors[fold.test])))
        base.append(np.full(len(fold.test), values[train].mean()))
        scored.append(fold.test)
    rows = np.concatenate(scored)
    truth, guess, mean = values[rows], np.concatenate(predicted), np.concatenate(base)

    def spearman(index: IntArray) -> float:
        a, b = rankdata(truth[index]), rankdata(guess[index])
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0
        return float(np.corrcoef(a, b)[0, 1])

    def explained(index: IntArray) -> float:
        spread = truth[index].var()
        return float(1 - np.mean((truth[index] - guess[index]) ** 2) / spread) if spread > 0 else float("nan")

    def error(index: IntArray) -> float:
        return float(np.sqrt(np.mean((truth[index] - guess[index]) ** 2)))

    whole = np.arange(len(rows))
    n = len(rows)
    plain = float(np.sqrt(np.mean((truth - mean) ** 2)))
    figures = [
        Figure("Spearman", spearman(whole), n, statistic=spearman, rows=rows, chance=0.0),
        Figure("R²", explained(whole), n, statistic=explained, rows=rows, chance=0.0),
        Figure("RMSE", error(whole), n, statistic=error, rows=rows, chance=plain),
    ]
    return Measurement(figures, note=f"{n:,} sequences; {said}")
