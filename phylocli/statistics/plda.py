"""Axes along which homologous residues agree, in closed form from aligned families.

Each alignment column has a mean, drawn from N(μ, B), and its residues scatter around it by N(0, W) (probabilistic linear
discriminant analysis: Ioffe 2006, doi:10.1007/11744085_41; Prince & Elder 2007, doi:10.1109/ICCV.2007.4409052). B and W are
estimated by moments. In the axes that make W the identity and B diagonal (ψ), and with each axis scaled to variance 1, two
residues of one column correlate by ψ / (1 + ψ).
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
"""Members of a family to use, drawn at random: columns count alike, however many sequences they have."""

FLOOR = 1e-3
"""Share of W's mean variance that is added to each variance, so that no direction seems to be without scatter."""

FEWEST = 20
"""Residues a feature, beyond the first of their columns, that a fit needs."""


@dataclass(frozen=True)
class HomologousAxes:
    """What residues are compared on.

    Attributes:
        mean: of the features of residues, (F,).
        axes: (F, d); (features - mean) · axes has variance 1 and no correlation.
        correlation: of two residues of one column along each axis, (d,), descending.
        residues: number that they were fitted to.
    """

    mean: Floats
    axes: Floats
    correlation: Floats
    residues: int


class _Moments:
    """Sums from which the mean and the two covariances are made."""

    def __init__(self, features: int) -> None:
        self.total, self.within = np.zeros((features, features)), np.zeros((features, features))
        self.sum = np.zeros(features)
        self.residues = self.freedom = 0

    def add(self, features: npt.NDArray[Any], columns: npt.NDArray[Any]) -> None:
        """Count one family's residues, (n, F), the columns of which are given, -1 for none."""
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
        apart = x[order] - means[code]  # nothing, where a column has one residue
        self.within += apart.T @ apart
        self.freedom += int((count - 1).sum())


def freedom_of(columns: npt.NDArray[Any]) -> int:
    """Return the number of residues beyond the first of their columns, of one family's residues' columns (-1 for none)."""
    inside = columns[columns >= 0]
    return len(inside) - len(np.unique(inside))


def check_freedom(freedom: int, features: int) -> None:
    """Raise where there are too few residues for a fit.

    Raises:
        UsageError: there are.
    """
    if freedom < FEWEST * features:
        raise UsageError(
            "there are too few aligned residues to fit covariances of",
            why=f"{freedom:,} beyond the first of their columns, for {features} features",
            fix="give hundreds of aligned families",
        )


def fit_axes(families: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], dimension: int) -> HomologousAxes:
    """Fit axes: one pass over families, two covariances, one eigenvalue problem.

    Args:
        families: of each, the features of residues (n, F), and the match column of each residue (n,), -1 for none.
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
    within += FLOOR * np.trace(within) / len(within) * np.eye(len(within))
    between, vectors = scipy.linalg.eigh(total - within, within)
    kept = np.argsort(-between)[:dimension]
    psi = np.maximum(between[kept], 1e-3)
    return HomologousAxes(mean, vectors[:, kept] / np.sqrt(1 + psi), psi / (1 + psi), moments.residues)
