"""The log likelihood of pairs of sequences as a function of their distance, vectorised over pairs.

The derivative of a pair's log likelihood with respect to s = log t is a sum over its columns of d log P_ab(t) / ds, a smooth
function for each of the 210 pairs of residues. To sufficient accuracy, these functions lie in a space of about fifteen
dimensions. The sums of the columns' coordinates in this space, a sparse matrix product for a block of pairs, are therefore
sufficient statistics. On each of a number of intervals of s, the derivative is then approximated by a polynomial with six
coefficients, whose root is found by Newton's method.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import MISSING
from phylocli.tree.models import STATES, gamma_spectrum, substitution_model

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]

MIN_DISTANCE = 1e-4
"""Minimum distance of rows with differences."""

_INTERVALS = 32
_DEGREE = 5  # degree of the polynomials; the error is below 1e-8
_SAMPLES = 64  # number of Chebyshev points at which functions are evaluated, sufficient for 1e-8
_LEAST = 6  # minimum dimension of the basis
_TOLERANCE = 3e-7  # maximum error of a function in the basis
_WIDTH = MISSING + 1
CODES = _WIDTH**2
"""Number of pairs of states, including missing ones; the pair (a, b) has the code 21 a + b."""

COUNTS = np.zeros((CODES, 2), dtype=np.float32)
"""Features of each code: whether both states are present, and whether they are present and differ."""

COUNTS.reshape(_WIDTH, _WIDTH, 2)[:STATES, :STATES, 0] = 1
COUNTS.reshape(_WIDTH, _WIDTH, 2)[:STATES, :STATES, 1] = 1 - np.eye(STATES)


@dataclass(frozen=True, eq=False)
class Curves:
    """Pairwise log likelihoods under a model, as piecewise polynomials of the log distance s = log t.

    Attributes:
        low: logarithm of the minimum distance.
        step: length of an interval of s.
        longest: the maximum distance, at the end of the last interval.
        features: features of each code, shape (441, r): `COUNTS`, then the coordinates of its function; zeros if a state is
            missing. The basis functions of the first two are zero, so that sums of features can be used directly.
        slopes: values of the r basis functions at the ends of the intervals, shape (intervals + 1, r).
        rises: integrals of the basis functions from `low` to the ends of the intervals, shape (intervals + 1, r).
        pieces: polynomial coefficients of the basis functions in u ∈ [−1, 1], lowest first, shape (intervals, r, 6).
        start: log P_ab at the minimum distance, shape (441,); zeros if a state is missing.
    """

    low: float
    step: float
    longest: float
    features: Single
    slopes: Single
    rises: Single
    pieces: Single
    start: Array

    def distances(self, statistics: Single) -> Array:
        """Return the maximum-likelihood distances, shape (pairs,), given sums of `features`, shape (pairs, r)."""
        place = self._place(statistics)[0]
        return np.where(place < _INTERVALS * self.step, np.exp(self.low + place), self.longest)

    def maxima(self, statistics: Single) -> Array:
        """Return the increase of each pair's log likelihood from the minimum distance to its maximum, shape (pairs,)."""
        place, interval, coefficients = self._place(statistics)
        u = 2 * (place / self.step - interval) - 1
        rise = np.zeros_like(u)
        for power, coefficient in enumerate(coefficients):
            rise += coefficient * (u ** (power + 1) - (-1.0) ** (power + 1)) / (power + 1)
        before = (self.rises[interval] * statistics).sum(axis=1, dtype=np.float64)
        return before + rise * self.step / 2

    def _place(self, statistics: Single) -> tuple[Array, npt.NDArray[np.int64], Array]:
        """Return for each pair s − `low` at the maximum, its interval, and the polynomial coefficients there."""
        slopes = self.slopes @ statistics.T  # (ends, pairs)
        rising = slopes > 0
        interval = rising.sum(axis=0) - 1
        # Usually the derivative has a single root. If there are several, use the interval end with the highest likelihood.
        turns = np.count_nonzero(rising[1:] != rising[:-1], axis=0)
        odd = np.flatnonzero((turns > 1) | (~rising[0] & (turns > 0)))
        if len(odd):
            peak = (self.rises @ statistics[odd].T).argmax(axis=0)
            interval[odd] = np.where(rising[peak, odd], peak, peak - 1)
        inside = interval.clip(0, _INTERVALS - 1)
        order = np.argsort(inside.astype(np.uint8), kind="stable")
        bounds = np.searchsorted(inside[order], np.arange(_INTERVALS + 1))
        sorted_statistics = statistics[order]
        coefficients = np.empty((_DEGREE + 1, len(statistics)))
        for piece, first, last in zip(self.pieces, bounds[:-1], bounds[1:], strict=True):
            if last > first:
                coefficients[:, order[first:last]] = piece.T @ sorted_statistics[first:last].T
        u = _root(coefficients)
        u[interval < 0] = -1.0
        u[interval >= _INTERVALS] = 1.0
        return (inside + (u + 1) / 2) * self.step, inside, coefficients


@functools.lru_cache(maxsize=64)
def curves(name: str, alpha: float, max_distance: float) -> Curves:
    """Return the likelihood curves of a model with Γ(α, 1/α) rates from `MIN_DISTANCE` to `max_distance`."""
    model = substitution_model(name)
    low, high = np.log(MIN_DISTANCE), np.log(max_distance)
    step = (high - low) / _INTERVALS
    time = np.exp(low + (np.polynomial.chebyshev.chebpts1(_SAMPLES) + 1) / 2 * (high - low))
    spectrum = gamma_spectrum(model.eigenvalues, time, alpha)
    change = spectrum * model.eigenvalues * time[:, None]
    if not np.isinf(alpha):
        change = change / (1 - model.eigenvalues * time[:, None] / alpha)
    # One row for each of the 210 unordered pairs of states, because the derivative is symmetric.
    a, b = np.triu_indices(STATES)
    products = model.right[a] * model.left[:, b].T  # (210, eigenvalues)
    functions = (products @ change.T) / (products @ spectrum.T)
    left, sizes, basis = np.linalg.svd(functions, full_matrices=False)
    left *= sizes
    rank = _LEAST
    while rank < len(sizes) and np.abs(left[:, rank:] @ basis[rank:]).max() > _TOLERANCE:
        rank += 1
    coordinates = np.zeros((_WIDTH, _WIDTH, rank))
    coordinates[a, b] = coordinates[b, a] = left[:, :rank]
    basis = np.vstack([np.zeros((2, _SAMPLES)), basis[:rank]])
    pieces = (basis @ _to_pieces().T).reshape(rank + 2, _INTERVALS, _DEGREE + 1).transpose(1, 0, 2)
    ends = pieces.sum(axis=2)  # at u = 1
    first = (pieces[0] * (-1.0) ** np.arange(_DEGREE + 1)).sum(axis=1)
    areas = (pieces[:, :, ::2] * (2 / np.arange(1, _DEGREE + 2, 2))).sum(axis=2) * step / 2
    start = np.zeros((_WIDTH, _WIDTH))
    start[:STATES, :STATES] = np.log(model.gamma_transition(MIN_DISTANCE, alpha))
    return Curves(
        low=float(low),
        step=float(step),
        longest=max_distance,
        features=np.hstack([COUNTS, coordinates.reshape(CODES, rank)]).astype(np.float32),
        slopes=np.vstack([first, ends]).astype(np.float32),
        rises=np.vstack([np.zeros(rank + 2), np.cumsum(areas, axis=0)]).astype(np.float32),
        pieces=pieces.astype(np.float32),
        start=start.ravel(),
    )


@functools.cache
def _to_pieces() -> Array:
    """Return the matrix that maps values at the samples to polynomial coefficients, shape (intervals · 6, samples)."""
    nodes = np.polynomial.chebyshev.chebpts1(_DEGREE + 1)
    x = 2 * (np.arange(_INTERVALS)[:, None] + (nodes + 1) / 2) / _INTERVALS - 1
    chebyshev = np.polynomial.chebyshev.chebvander
    samples = np.polynomial.chebyshev.chebpts1(_SAMPLES)
    values = chebyshev(x, _SAMPLES - 1) @ np.linalg.inv(chebyshev(samples, _SAMPLES - 1))  # (intervals, 6, samples)
    powers = np.linalg.inv(np.vander(nodes, increasing=True))
    return np.asarray(powers @ values, dtype=np.float64).reshape(-1, _SAMPLES)


def _root(coefficients: Array) -> Array:
    """Return the roots of decreasing polynomials in [−1, 1], shape (pairs,), by safeguarded Newton steps.

    If there is no sign change, the end with the larger function value is returned.

    Args:
        coefficients: coefficients of the derivatives, lowest first, shape (6, pairs).
    """
    odd = coefficients[1::2].sum(axis=0)
    even = coefficients[::2].sum(axis=0)
    value_low, value_high = even - odd, even + odd
    falls = (value_low > 0) & (value_high <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(falls, (value_low + value_high) / (value_low - value_high), np.where(value_low > 0, 1.0, -1.0))
    active = np.flatnonzero(falls)
    series = coefficients if len(active) == len(x) else coefficients[:, active]
    low, high = np.full(len(active), -1.0), np.full(len(active), 1.0)
    here = x[active]
    for _ in range(60):
        if not len(active):
            break
        value, slope = series[-1].copy(), np.zeros_like(here)
        for coefficient in series[-2::-1]:
            slope *= here
            slope += value
            value *= here
            value += coefficient
        above = value > 0
        low, high = np.where(above, here, low), np.where(above, high, here)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = here - value / slope
        new = np.where((new >= low) & (new <= high), new, (low + high) / 2)  # also for NaN
        moving = np.flatnonzero(np.abs(new - here) > 1e-6)
        x[active] = new
        active, series = active[moving], series[:, moving]
        low, high, here = low[moving], high[moving], new[moving]
    return x
