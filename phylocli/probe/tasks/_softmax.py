"""Multinomial logistic regression for many classes by preconditioned L-BFGS, in blocks and in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

_BLOCK = 512
"""Number of items per block, so that scores for thousands of classes fit in the CPU cache."""


class SoftmaxRegression:
    """Multinomial logistic regression with the part of scikit-learn's interface that probes use.

    L-BFGS is preconditioned: weights are scaled along the principal axes of the features by the initial curvature of a
    softmax over C classes, eigenvalue/C + penalty. This reduces the number of steps by a factor of about ten.

    Args:
        x: standardised features, shape (n, D).
        y: class codes, shape (n,).
        penalty: inverse regularisation strength, scikit-learn's C: the objective is |weights|²/2 + C · sum of cross
        entropies. steps: maximum number of L-BFGS steps.
        tolerance: relative decrease of the loss below which the optimisation stops.
        start: a regression on the same features, possibly with other classes, for a warm start.
    """

    def __init__(
        self,
        x: npt.NDArray[Any],
        y: IntArray,
        penalty: float,
        steps: int = 100,
        tolerance: float = 1e-5,
        start: SoftmaxRegression | None = None,
    ) -> None:
        from scipy.optimize import minimize

        self.classes_, place = np.unique(y, return_inverse=True)
        self._x, self._y = np.ascontiguousarray(x, dtype=np.float32), place.astype(np.int64)
        n, dimension = self._x.shape
        classes = len(self.classes_)
        self._decay = 1 / (penalty * n)
        spectrum, axes = np.linalg.eigh((self._x.T @ self._x).astype(np.float64) / n)
        self._scale = 1 / np.sqrt(np.maximum(spectrum, 0) / classes + self._decay)[:, None]
        self._shift = np.sqrt(classes)  # the curvature of a bias is 1/C
        self._rotated = self._x @ axes.astype(np.float32)

        # Start from the class frequencies, the solution for uninformative features.
        bias = np.log(np.bincount(self._y, minlength=classes) / n)
        weight = np.zeros((dimension, classes))
        if start is not None:
            known = np.isin(self.classes_, start.classes_)
            at = np.searchsorted(start.classes_, self.classes_[known])
            weight[:, known], bias[known] = axes.T @ start.weight[:, at], start.bias[at]
        first = np.concatenate([(weight / self._scale).ravel(), bias / self._shift])
        found = minimize(
            self._loss, first, jac=True, method="L-BFGS-B", options={"maxiter": steps, "ftol": tolerance, "gtol": 1e-7}
        )
        weight, bias = self._unpack(found.x)
        self.weight: FloatArray = (axes @ weight).astype(np.float32)
        self.bias: FloatArray = bias.astype(np.float32)
        del self._x, self._y, self._rotated

    def _unpack(self, values: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
        """Return weights along the principal axes, (D, C), and biases, (C,), from the solver's variables."""
        classes = len(self.classes_)
        return values[:-classes].reshape(-1, classes) * self._scale, values[-classes:] * self._shift

    def _loss(self, values: DoubleArray) -> tuple[float, DoubleArray]:
        """Return the mean cross entropy plus the penalty, and its gradient."""
        import torch

        weight, bias = self._unpack(values)
        w, b = torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))
        by_weight, by_bias, loss = torch.zeros_like(w), torch.zeros_like(b), 0.0
        features, target = torch.from_numpy(self._rotated), torch.from_numpy(self._y)
        with torch.no_grad():
            for block, own in zip(features.split(_BLOCK), target.split(_BLOCK), strict=True):
                scores = torch.addmm(b, block, w)
                top = scores.amax(1, keepdim=True)
                right = scores.gather(1, own[:, None])
                chances = scores.sub_(top).exp_()
                total = chances.sum(1, keepdim=True)
                loss += float((total.log() + top - right).sum())
                chances.div_(total)
                chances[torch.arange(len(own)), own] -= 1
                by_weight.addmm_(block.T, chances)
                by_bias += chances.sum(0)
        n = len(self._y)
        gradient = by_weight.numpy().astype(np.float64) / n + self._decay * weight
        loss = loss / n + self._decay / 2 * float((weight * weight).sum())
        return loss, np.concatenate([(gradient * self._scale).ravel(), by_bias.numpy() / n * self._shift])

    def decision_function(self, x: npt.NDArray[Any]) -> FloatArray:
        """Return the logits of each class, shape (items, classes)."""
        return np.asarray(x, dtype=np.float32) @ self.weight + self.bias

    def predict(self, x: npt.NDArray[Any]) -> IntArray:
        """Return the most probable code of each item, shape (items,)."""
        return np.asarray(self.classes_[self.decision_function(x).argmax(axis=1)], dtype=np.int64)

    def score(self, x: npt.NDArray[Any], y: IntArray) -> float:
        """Return the accuracy."""
        return float(np.mean(self.predict(x) == y))
