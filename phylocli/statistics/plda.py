"""Axes along which homologous residues agree, in closed form from aligned families.

Each alignment column has a mean, distributed as N(μ, B), and its residues deviate from it by N(0, W) (probabilistic linear
discriminant analysis: Ioffe 2006, doi:10.1007/11744085_41; Prince & Elder 2007, doi:10.1109/ICCV.2007.4409052). B and W are
estimated by moments. In the axes that make W the identity and B diagonal (ψ), with each axis scaled to variance 1, two
residues of one column have the correlation ψ / (1 + ψ).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import UsageError

Floats = npt.NDArray[np.float64]

MEMBERS = 4
"""Number of members sampled per family: columns have equal weights, regardless of the number of sequences."""

FLOOR = 1e-3
"""Fraction of the variance within columns that is added to that of each feature, so that no direction has zero variance."""

FEWEST = 20
"""Number of residues per feature, beyond the first of their columns, that a fit needs."""


@dataclass(frozen=True)
class HomologousAxes:
    """Axes for comparing residues.

    Attributes:
        mean: of the features of residues, (F,).
        axes: (F, d); (features - mean) · axes has variance 1 and no correlation.
        correlation: of two residues of one column along each axis, (d,), descending.
        residues: number of residues in the fit.
    """

    mean: Floats
    axes: Floats
    correlation: Floats
    residues: int


class _Moments:
    """Sums from which the mean and the two covariances are computed."""

    def __init__(self, features: int) -> None:
        self.total, self.within = np.zeros((features, features)), np.zeros((features, features))
        self.sum = np.zeros(features)
        self.residues = self.freedom = 0

    def add(self, features: npt.NDArray[Any], columns: npt.NDArray[Any]) -> None:
        """Add the residues of one family, (n, F), with the column of each, -1 for none."""
        x = features.astype(np.float64)
        self.total += x.T @ x
        self.sum += x.sum(axis=0)
        self.residues += len(x)
        order = np.argsort(columns, kind="stable")
        order = order[columns[order] >= 0]
        if not len(order):
            return
        _, starts, code, count = np.unique(columns[order], return_index=True, return_inverse=True, return_counts=True)
        means = np.add.reduceat(x[order], starts, axis=0) / count[:, None]
        apart = x[order] - means[code]  # zero for a column with one residue
        self.within += apart.T @ apart
        self.freedom += int((count - 1).sum())


def freedom_of(columns: npt.NDArray[Any]) -> int:
    """Return the number of residues beyond the first of their columns, given the column of each residue (-1 for none)."""
    inside = columns[columns >= 0]
    return len(inside) - len(np.unique(inside))


def check_freedom(freedom: int, features: int) -> None:
    """Raise an error if there are too few residues for a fit.

    Raises:
        UsageError: too few residues.
    """
    if freedom < FEWEST * features:
        raise UsageError(
            "too few aligned residues to estimate covariances",
            why=f"{freedom:,} beyond the first of their columns, for {features} features",
            fix="give hundreds of aligned families",
        )


def fit_axes(families: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], dimension: int) -> HomologousAxes:
    """Fit axes in one pass over families: two covariances and one eigenvalue problem.

    Args:
        families: for each, the residue features (n, F), and the match column of each residue (n,), -1 for none.
        dimension: axes kept, those with the largest ψ; at most F.

    Raises:
        UsageError: too few residues.
    """
    import scipy.linalg

    moments: _Moments | None = None
    for features, columns in families:
        moments = moments or _Moments(features.shape[1])
        moments.add(features, columns)
    if moments is None:
        raise UsageError("there are no aligned families to fit axes to", fix="give aligned families")
    check_freedom(moments.freedom, len(moments.sum))
    mean = moments.sum / moments.residues
    total = moments.total / moments.residues - np.outer(mean, mean)
    within = moments.within / moments.freedom
    own = np.diag(within)  # features differ in scale
    within += FLOOR * np.diag(np.maximum(own, FLOOR * own.mean()))
    between, vectors = scipy.linalg.eigh(total - within, within)
    kept = np.argsort(-between)[:dimension]
    psi = np.maximum(between[kept], 1e-3)
    return HomologousAxes(mean, vectors[:, kept] / np.sqrt(1 + psi), psi / (1 + psi), moments.residues)
