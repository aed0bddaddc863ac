"""Classification by a multilayer perceptron, for classes that are not linearly separable; on request only."""

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
TITLE = "Classification (MLP)"
METRICS = {
    "accuracy": Metric(
        "Fraction of sequences that a multilayer perceptron with one hidden layer of 256 units classifies correctly. "
        "Training stops when accuracy on a held-out tenth of the training part no longer increases (with small classes: "
        "when the training loss no longer decreases). Chance: always the largest class."
    ),
    "macro-F1": Metric("F1 of each class by the same multilayer perceptron, averaged over classes."),
}
HIDDEN = 256


def levels(data: Dataset) -> list[str]:
    """Return the levels of the linear probe."""
    return classification.levels(data)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Fit on the training rows of each fold and score its test rows, which are those of the linear probe."""
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
        # Early stopping holds out a stratified tenth, which requires two members per class and one of each held out.
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
