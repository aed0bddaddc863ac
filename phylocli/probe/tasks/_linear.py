"""Logistic regression with its penalty chosen on validation items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def logistic(x: npt.NDArray[Any], y: IntArray, penalty: float) -> Any:
    """Return a multinomial logistic regression fitted on (n, D) and codes (n,); `penalty` is scikit-learn's C."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is near enough for a probe
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


class TermRegression:
    """Logistic regressions, one a term, on the same standardised features; all fitted at once by L-BFGS.

    Args:
        x: features, shape (n, D).
        y: 1 where the item has the term, else 0, shape (n, T).
    """

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        import torch

        features = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        self._mean = features.mean(0)
        self._scale = features.std(0, correction=0)
        self._scale[self._scale == 0] = 1.0
        self._x = (features - self._mean) / self._scale
        self._y = torch.from_numpy(np.ascontiguousarray(y, dtype=np.float32))
        # The frequencies are the answer where the features say nothing.
        share = self._y.mean(0).clamp(1e-6, 1 - 1e-6)
        self._bias = torch.logit(share).requires_grad_()
        self._weight = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)

    def fit(self, penalty: float, steps: int = 100) -> None:
        """Minimise the mean cross entropy (summed over terms) plus `penalty`/2 · |weights|², from the last fit on."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        with torch.enable_grad():
            parameters = [self._weight, self._bias]
            optimizer = torch.optim.LBFGS(
                parameters, max_iter=steps, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
            )

            def closure() -> torch.Tensor:
                optimizer.zero_grad()
                scores = torch.addmm(self._bias, self._x, self._weight)
                loss = binary_cross_entropy_with_logits(scores, self._y, reduction="sum") / len(self._y)
                loss = loss + penalty / 2 * self._weight.square().sum()
                loss.backward()  # type: ignore[no-untyped-call]
                return loss

            optimizer.step(closure)  # type: ignore[no-untyped-call]

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the probability of each term, shape (items, T)."""
        import torch

        with torch.no_grad():
            features = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)) - self._mean) / self._scale
            return torch.sigmoid(torch.addmm(self._bias, features, self._weight)).numpy()
