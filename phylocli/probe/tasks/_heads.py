"""Logistic regressions for many terms, fitted by L-BFGS in PyTorch in single precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float32]


def _tensor(x: npt.NDArray[Any]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


def _minimise(weight: torch.Tensor, bias: torch.Tensor, loss: Callable[[], torch.Tensor], steps: int) -> None:
    """Minimise a loss over weights, (D, C), and biases, (C,), in place."""
    import torch

    with torch.enable_grad():
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=steps, history_size=10, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)


class TermRegression:
    """Logistic regressions on standardised features, one per term, fitted simultaneously.

    Args:
        x: features, shape (n, D).
        y: 1 if the item has the term, otherwise 0, shape (n, T).
    """

    def __init__(self, x: FloatArray, y: FloatArray) -> None:
        import torch

        features = _tensor(x)
        self._mean = features.mean(0)
        self._scale = features.std(0, correction=0)
        self._scale[self._scale == 0] = 1.0
        self._x = (features - self._mean) / self._scale
        self._y = _tensor(y)
        # Start from the term frequencies, the solution for uninformative features.
        frequency = self._y.mean(0).clamp(1e-6, 1 - 1e-6)
        self._bias = torch.logit(frequency).requires_grad_()
        self._weight = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)

    def fit(self, penalty: float, steps: int = 100) -> None:
        """Minimise the mean cross entropy (summed over terms) plus `penalty`/2 · |weights|², starting from the last fit."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits

        def loss() -> torch.Tensor:
            scores = torch.addmm(self._bias, self._x, self._weight)
            entropy = binary_cross_entropy_with_logits(scores, self._y, reduction="sum") / len(self._y)
            return entropy + penalty / 2 * self._weight.square().sum()

        _minimise(self._weight, self._bias, loss, steps)

    def predict(self, x: FloatArray) -> FloatArray:
        """Return the probability of each term, shape (items, T)."""
        import torch

        with torch.no_grad():
            features = (_tensor(x) - self._mean) / self._scale
            return np.asarray(torch.sigmoid(torch.addmm(self._bias, features, self._weight)).numpy(), dtype=np.float32)
