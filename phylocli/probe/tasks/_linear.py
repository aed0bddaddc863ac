"""Logistic regression with a penalty chosen on validation items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.probe.tasks._softmax import SoftmaxRegression

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

MANY_CLASSES = 100
"""Number of classes above which `SoftmaxRegression` is used, which is then many times as fast as scikit-learn's solver."""


ROUGH = 1e-3
"""Tolerance of fits for choosing the penalty; takes a third of the time."""


def logistic(x: npt.NDArray[Any], y: IntArray, penalty: float, start: Any = None, tolerance: float = 1e-5) -> Any:
    """Fit a multinomial logistic regression.

    Args:
        x: standardised features, shape (n, D).
        y: class codes, shape (n,).
        penalty: inverse regularisation strength, scikit-learn's C.
        start: an earlier result on the same features for a warm start; used with many classes only.
        tolerance: relative tolerance of the loss; used with many classes only.
    """
    if len(np.unique(y)) > MANY_CLASSES:
        start = start if isinstance(start, SoftmaxRegression) else None
        return SoftmaxRegression(x, y, penalty, tolerance=tolerance, start=start)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # approximate convergence suffices for a probe
        return LogisticRegression(C=penalty, max_iter=200, tol=1e-3).fit(x, y)


def fit_logistic(
    x_train: FloatArray, y_train: IntArray, x_valid: FloatArray, y_valid: IntArray, penalties: Sequence[float]
) -> Callable[[FloatArray], IntArray]:
    """Fit a logistic regression on standardised features with the penalty that is best on validation items.

    Returns:
        A function that predicts codes, (n,), from features, (n, D).
    """
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x_train)
    scaled, held = scaler.transform(x_train), scaler.transform(x_valid)
    models = [logistic(scaled, y_train, penalty) for penalty in penalties]
    best = models[int(np.argmax([model.score(held, y_valid) for model in models]))]
    return lambda x: np.asarray(best.predict(scaler.transform(x)), dtype=np.int64)
