"""P-values of local alignments, from the Gumbel distribution of the scores of unrelated pairs.

The score of the best alignment is a maximum over many positions, so for unrelated sequences of lengths L and M

    P(S ≥ s) = 1 - exp(-K · L · M · exp(-λ s))

(Karlin & Altschul 1990, doi:10.1073/pnas.87.6.2264; empirically also with gaps, Altschul & Gish 1996,
doi:10.1016/S0076-6879(96)66029-7). λ and K depend on the scoring system and are fitted to scores of unrelated pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq, minimize

Floats = npt.NDArray[np.float64]

_SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Gumbel:
    """The null distribution of alignment scores.

    Attributes:
        rate: λ, per unit of score.
        log_size: ln K.
    """

    rate: float
    log_size: float

    def log_p_values(self, scores: npt.NDArray[np.floating], cells: npt.NDArray[np.floating]) -> Floats:
        """Return the log p-values ln P(S ≥ s).

        Args:
            scores: scores s, any shape.
            cells: L · M for each pair, same shape.
        """
        log_expected = self.log_size + np.log(cells) - self.rate * np.asarray(scores, dtype=np.float64)
        # For small y, ln(1 - exp(-y)) = ln y; this avoids cancellation and underflow.
        return np.where(log_expected < -20, log_expected, np.log(-np.expm1(-np.exp(np.clip(log_expected, -20, 50)))))

    def means(self, cells: npt.NDArray[np.floating]) -> Floats:
        """Return the mean scores of unrelated pairs, (ln K + ln(L · M) + γ) / λ, with Euler's constant γ."""
        return (self.log_size + np.log(cells) + np.euler_gamma) / self.rate

    def scores_at(self, expected: float, cells: npt.NDArray[np.floating]) -> Floats:
        """Return the scores s at which K · L · M · exp(-λ s), the expected number of chance alignments, is this number."""
        return (self.log_size + np.log(cells) - np.log(expected)) / self.rate

    def bits(self, scores: npt.NDArray[np.floating]) -> Floats:
        """Return normalised scores in bits, (λs - ln K) / ln 2; the expected number of chance hits is L · M · 2^-bits."""
        return (self.rate * np.asarray(scores, dtype=np.float64) - self.log_size) / np.log(2)


def fit_gumbel(scores: npt.NDArray[np.floating], cells: npt.NDArray[np.floating], censored: int = 0) -> Gumbel:
    """Fit the distribution by maximum likelihood.

    The score s of a pair with c cells has the density λ y exp(-y), with y = K c exp(-λ s). A censored score contributes the
    probability 1 - exp(-y) of a score of at least the largest that is not censored. Without censoring, the estimate of K
    given λ is n / Σ c exp(-λ s), which leaves one equation for λ, 1/λ = mean(s) - Σ s w / Σ w with w = c exp(-λ s) (Lawless
    1982, Statistical Models and Methods for Lifetime Data). If all scores are equal, the likelihood has no maximum; a
    standard deviation of 10⁻⁶ is assumed.

    Args:
        scores: alignment scores of unrelated pairs, (n,), with n of the order of 100.
        cells: L · M for each pair, (n,).
        censored: number of the largest scores that are censored, because their pairs may be homologs.

    Raises:
        ValueError: fewer than two scores are not censored.
    """
    if len(scores) - censored < 2:
        raise ValueError(f"of {len(scores)} scores, {censored} are censored; a fit needs two others")
    s, logs = np.asarray(scores, dtype=np.float64), np.log(np.asarray(cells, dtype=np.float64))
    order = np.argsort(s, kind="stable")
    s, logs = s[order], logs[order]
    known = len(s) - censored
    s[known:] = s[known - 1]
    fit = _fit_uncensored(s, logs)
    if not censored or s.std() <= _SMALLEST_SPREAD:
        return fit

    def loss(x: Floats) -> float:
        rate = np.exp(x[0])
        log_y = np.clip(x[1] + logs - rate * s, -50, 50)
        y = np.exp(log_y)
        survival = np.log(-np.expm1(-y[known:]))
        return -float(known * x[0] + (log_y[:known] - y[:known]).sum() + survival.sum())

    found = minimize(
        loss, np.array([np.log(fit.rate), fit.log_size]), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}
    )
    return Gumbel(float(np.exp(found.x[0])), float(found.x[1]))


def _fit_uncensored(s: Floats, logs: Floats) -> Gumbel:
    spread = max(float(s.std()), _SMALLEST_SPREAD)

    def weights(rate: float) -> Floats:
        exponent = logs - rate * s
        return np.exp(exponent - exponent.max())

    def slope(rate: float) -> float:
        w = weights(rate)
        return float(1 / rate - s.mean() + (s * w).sum() / w.sum())

    # The slope decreases from +∞; with a standard deviation σ the rate is near π / (σ √6), and far above it the slope is
    # negative.
    high = np.pi / (spread * np.sqrt(6))
    if s.std() > _SMALLEST_SPREAD:
        while slope(high) > 0:
            high *= 2
        rate = float(brentq(slope, high * 1e-6, high))
    else:
        rate = high
    exponent = logs - rate * s
    return Gumbel(rate, float(np.log(len(s)) - exponent.max() - np.log(np.exp(exponent - exponent.max()).sum())))
