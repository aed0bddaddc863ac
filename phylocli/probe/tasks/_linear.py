"""Logistic regression with its penalty chosen on validation items."""

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
"""Beyond so many classes scikit-learn's solver takes many times as long as matrix products in single precision."""


ROUGH = 1e-3
"""Tolerance of a fit that is only compared with fits of other penalties: a third of the time."""


def logistic(x: npt.NDArray[Any], y: IntArray, penalty: float, start: Any = None, tolerance: float = 1e-5) -> Any:
    """Return a multinomial logistic regression fitted on (n, D) and codes (n,).

    Args:
        x: features, shape (n, D), standardised.
        y: codes, shape (n,).
        penalty: scikit-learn's C.
        start: an earlier result on like features, which a regression of many classes starts from.
        tolerance: of a regression of many classes, as a fraction of its loss.
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
    """Return a function that predicts codes, fitted on scaled training items with the penalty best on validation items."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x_train)
    scaled, held = scaler.transform(x_train), scaler.transform(x_valid)
    models = [logistic(scaled, y_train, penalty) for penalty in penalties]
    best = models[int(np.argmax([model.score(held, y_valid) for model in models]))]
    return lambda x: np.asarray(best.predict(scaler.transform(x)), dtype=np.int64)
