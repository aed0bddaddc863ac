"""Area under the ROC curve and average precision of weighted items, so that a bootstrap needs no new sort."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Ranked:
    """Items with scores, some of them relevant, sorted once.

    Args:
        scores: shape (m,); −inf ranks last.
        relevant: truth values, shape (m,).
        owners: the bootstrap unit (a query, a protein) of each item, shape (m,), codes 0 … units−1.
        units: number of units.
    """

    def __init__(self, scores: npt.ArrayLike, relevant: npt.ArrayLike, owners: IntArray, units: int) -> None:
        values, truth = np.asarray(scores, dtype=np.float64), np.asarray(relevant, dtype=bool)
        order = np.argsort(-values, kind="stable")
        self._truth = truth[order]
        self._owners = np.asarray(owners)[order]
        self._units = units
        # The last item of each run of equal scores: curves are evaluated only there.
        descending = values[order]
        self._ends = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True]) if len(values) else np.zeros(0, int)

    def _curve(self, index: IntArray | None) -> tuple[FloatArray, FloatArray]:
        """Return the number of relevant and irrelevant items down to each distinct score, of a resample of units."""
        if index is None:
            weights = np.ones(len(self._truth))
        else:
            weights = np.bincount(index, minlength=self._units).astype(np.float64)[self._owners]
        right, wrong = np.cumsum(weights * self._truth), np.cumsum(weights * ~self._truth)
        return right[self._ends], wrong[self._ends]

    def auroc(self, index: IntArray | None = None) -> float:
        """Return the probability that a relevant item scores higher than an irrelevant one, ties counted half."""
        right, wrong = self._curve(index)
        if not len(right) or right[-1] == 0 or wrong[-1] == 0:
            return float("nan")
        return float(np.trapezoid(np.r_[0.0, right], np.r_[0.0, wrong]) / (right[-1] * wrong[-1]))

    def roc(self, points: int = 100) -> tuple[list[float], list[float]]:
        """Return the curve of the fractions of irrelevant and relevant items found, with at most this number of points."""
        right, wrong = self._curve(None)
        if not len(right) or right[-1] == 0 or wrong[-1] == 0:
            return [], []
        x, y = np.r_[0.0, wrong / wrong[-1]], np.r_[0.0, right / right[-1]]
        at = np.unique(np.linspace(0, len(x) - 1, points).round().astype(np.int64))
        return x[at].tolist(), y[at].tolist()

    def average_precision(self, index: IntArray | None = None) -> float:
        """Return the mean, over relevant items, of the precision at their score (scikit-learn's definition)."""
        right, wrong = self._curve(index)
        if not len(right) or right[-1] == 0:
            return float("nan")
        gained = np.diff(right, prepend=0.0)
        return float(np.sum(gained * right / np.maximum(right + wrong, 1e-300)) / right[-1])

    def precision_at(self, recall: float, index: IntArray | None = None) -> float:
        """Return the precision at the highest score down to which this fraction of the relevant items is found."""
        right, wrong = self._curve(index)
        if not len(right) or right[-1] == 0:
            return float("nan")
        at = int(np.argmax(right >= recall * right[-1]))
        return float(right[at] / (right[at] + wrong[at]))


class RankedClasses:
    """The ranking of all items by each class, for averages over classes.

    Args:
        scores: of every item for every class, shape (n, classes).
        relevant: truth values, shape (n, classes); classes without a relevant item are left out.
    """

    def __init__(self, scores: npt.NDArray[Any], relevant: npt.NDArray[np.bool_]) -> None:
        n = len(scores)
        owners = np.arange(n)
        present = np.flatnonzero(relevant.any(axis=0))
        self._classes = [Ranked(scores[:, c], relevant[:, c], owners, n) for c in present]

    def average_precision(self, index: IntArray | None = None) -> float:
        """Return the mean over classes of the average precision, of a resample of items if one is given."""
        found = np.array([ranked.average_precision(index) for ranked in self._classes])
        known = found[np.isfinite(found)]
        return float(known.mean()) if len(known) else float("nan")
