"""Classification by a small multilayer perceptron, for information that is not linearly separable. On request."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks import classification
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.probe.tasks._folds import folds
from phylocli.statistics.bootstrap import Estimate, mean_estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]

ON_REQUEST = True
ORDER = 40
TITLE = "Classification by a perceptron"
METRICS = {
    "accuracy": Metric(
        "Fraction of sequences that a perceptron with one hidden layer of 256 units on the embeddings classifies correctly; "
        "training stops when accuracy on a tenth of the training part no longer rises (loss, where classes are small). "
        "Chance: always the largest class."
    ),
    "macro-F1": Metric("F1 of each class by the same perceptron, averaged over classes."),
}
HIDDEN = 256


def levels(data: Dataset) -> list[str]:
    """Return the columns that the linear probe takes."""
    return classification.levels(data)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on each fold's training rows and score its test rows; the same rows as the linear probe's."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    rows = classification.usable_rows(data, level)
    codes = data.classes[level]
    parts, said = folds(data, rows, seed, codes[rows])
    scored, predicted, majority = [], [], []
    for fold in parts:
        train = subsample(np.concatenate([fold.train, fold.valid]), classification.MAX_TRAIN, seed)
        scaler = StandardScaler().fit(embedding.vectors[train])
        # Early stopping holds out a tenth, stratified by class, so each class needs two members and one in each part.
        sizes = np.bincount(codes[train])
        few = sizes[sizes > 0].min() < 2 or len(train) // 10 < np.count_nonzero(sizes)
        model = MLPClassifier((HIDDEN,), alpha=1e-3, early_stopping=not few, max_iter=100, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(scaler.transform(embedding.vectors[train]), codes[train])
        predicted.append(model.predict(scaler.transform(embedding.vectors[fold.test])))
        majority.append(codes[fold.test] == np.bincount(codes[train]).argmax())
        scored.append(fold.test)
    test_rows, guess = np.concatenate(scored), np.concatenate(predicted)
    truth = codes[test_rows]
    estimates = [
        mean_estimate("accuracy", guess == truth, test_rows, float(np.concatenate(majority).mean())),
        Estimate(
            "macro-F1",
            classification.macro_f1(truth, guess),
            len(truth),
            statistic=lambda index: classification.macro_f1(truth[index], guess[index]),
            rows=test_rows,
            interval="normal",
            bounds=(0.0, 1.0),
        ),
    ]
    return Measurement(estimates, note=f"{counted(len(truth), 'sequence')}; {said}")
