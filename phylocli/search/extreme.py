"""E-values of local alignments: scores of unrelated pairs follow a Gumbel distribution that lengths move.

The best of many places where an alignment may lie is an extreme, so for unrelated sequences of lengths L and M

    P(S ≥ s) = 1 - exp(-K · L · M · exp(-λ s))

(Karlin & Altschul 1990, doi:10.1073/pnas.87.6.2264; with gaps found to hold by Altschul & Gish 1996,
doi:10.1016/S0076-6879(96)66029-7). λ and K depend on how residues are scored, so they are fitted to scores of decoys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from phylocli.errors import UsageError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Gumbel:
    """The null distribution of an alignment's score.

    Attributes:
        rate: λ, per unit of score.
        size: K.
    """

    rate: float
    size: float

    def chance(self, scores: npt.NDArray[np.floating], cells: npt.NDArray[np.floating]) -> Floats:
        """Return P(S ≥ s) of unrelated pairs.

        Args:
            scores: s, any shape.
            cells: L · M of the pairs, likewise.
        """
        return -np.expm1(-self.size * cells * np.exp(-self.rate * np.asarray(scores, dtype=np.float64)))


def fit_gumbel(scores: npt.NDArray[np.floating], cells: npt.NDArray[np.floating]) -> Gumbel:
    """Return the distribution of greatest likelihood.

    Given λ the best K is n / Σ cells · exp(-λ s); what is left is one equation,
    1/λ = mean(s) - Σ s · w / Σ w with w = cells · exp(-λ s) (Lawless 1982, Statistical Models and Methods for Lifetime
    Data).

    Args:
        scores: of alignments of unrelated pairs, (n,), some hundreds.
        cells: L · M of each, (n,).

    Raises:
        UsageError: fewer than ten scores, or all the same.
    """
    s, logs = np.asarray(scores, dtype=np.float64), np.log(np.asarray(cells, dtype=np.float64))
    if len(s) < 10 or not s.std() > 0:
        raise UsageError(f"{len(s)} scores of unrelated pairs say nothing about chance", fix="search with more queries")

    def weights(rate: float) -> Floats:
        exponent = logs - rate * s
        return np.exp(exponent - exponent.max())

    def slope(rate: float) -> float:
        w = weights(rate)
        return float(1 / rate - s.mean() + (s * w).sum() / w.sum())

    # The slope falls from +∞; with a spread of σ the rate is near π / (σ √6), and far above it the slope is negative.
    high = np.pi / (s.std() * np.sqrt(6))
    while slope(high) > 0:
        high *= 2
    rate = float(brentq(slope, high * 1e-6, high))
    return Gumbel(rate, float(len(s) / np.exp(logs - rate * s).sum()))
