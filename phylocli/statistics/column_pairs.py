"""Statistics of pairs of alignment columns: mutual information and connected correlations, in memory of O(columns)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

States = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

SYMBOLS = 21
"""The 20 amino acids and the gap, state 20."""


def _one_hot(states: States) -> npt.NDArray[np.float32]:
    return (states[:, :, None] == np.arange(SYMBOLS)).astype(np.float32)


def _frequencies(
    one_hot: npt.NDArray[np.float32], pseudocount: float
) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """Yield, for each column but the last, its frequencies (21,), those of the later columns (K, 21), and those of both
    (K, 21, 21)."""
    n, columns, _ = one_hot.shape
    total = n + pseudocount
    single = (one_hot.sum(0, dtype=np.float64) + pseudocount / SYMBOLS) / total
    for i in range(columns - 1):
        later = one_hot[:, i + 1 :].reshape(n, -1)
        counts = (one_hot[:, i].T @ later).reshape(SYMBOLS, -1, SYMBOLS).transpose(1, 0, 2)
        yield single[i], single[i + 1 :], (counts + pseudocount / SYMBOLS**2) / total


def mutual_information(states: States, pseudocount: float = 0.5) -> FloatArray:
    """Return the mutual information of each pair of columns i < j in nats, (M (M − 1) / 2,).

    Args:
        states: (n, M), 0–19 and 20 for a gap.
        pseudocount: added sequences of uniform, independent symbols, so that every frequency is above 0.
    """
    found = [
        (joint * np.log(joint / (own[None, :, None] * others[:, None, :]))).sum((1, 2))
        for own, others, joint in _frequencies(_one_hot(states), pseudocount)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def correlation_of_connected(a: States, b: States) -> float:
    """Return Pearson's r between the connected correlations of two alignments with the same columns, (n, M) and (m, M).

    These are f_ij(x, y) − f_i(x) f_j(y) for each pair of columns and of amino acids, which a site-independent model does not
    have (Russ et al. 2020, doi:10.1126/science.aba3304). Gaps are left out.
    """
    sums = np.zeros(6)
    for first, second in zip(*(_frequencies(_one_hot(x), 0.0) for x in (a, b)), strict=True):
        x, y = (
            (joint - own[None, :, None] * others[:, None, :])[:, : SYMBOLS - 1, : SYMBOLS - 1].ravel()
            for own, others, joint in (first, second)
        )
        sums += [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y]
    n, x, y, xx, yy, xy = sums.tolist()
    scale = (n * xx - x * x) * (n * yy - y * y)
    return (n * xy - x * y) / float(np.sqrt(scale)) if scale > 0 else float("nan")


def pearson(a: FloatArray, b: FloatArray) -> float:
    """Return Pearson's correlation; NaN where one does not vary, or there are none."""
    if not len(a):
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")
