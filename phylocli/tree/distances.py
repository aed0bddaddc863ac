"""Evolutionary distances between the rows of an alignment: maximum likelihood under LG+Γ and its like, or plain formulas.

Under a reversible model the log likelihood of a pair's distance t is Σ_c log(π_a P_ab(t)) over the columns c in which both
rows have a residue (a, b). Its derivative in s = log t is a sum of smooth functions of s, one for each of the 400 pairs of
residues. Each is written once as a short Chebyshev series; a pair's derivative is then the sum of its columns' series, one
sparse product for a whole block of pairs, and its root, the maximum-likelihood distance, is found for all pairs of the block
at once by bisection and Newton steps.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from phylocli.alphabet import MISSING
from phylocli.errors import UsageError
from phylocli.tree.models import MODELS, STATES, SubstitutionModel, gamma_spectrum, substitution_model

FORMULAS = ("kimura", "p")
"""Distances that are a formula of the share of differing columns, without a model of which residue replaces which."""

DISTANCES = (*MODELS, *FORMULAS)
"""All names that `distance_matrix` takes."""

MIN_DISTANCE = 1e-4
"""Shortest distance that is told from zero (rows without a difference have distance 0)."""

MAX_DISTANCE = 5.0
"""Longest distance: pairs whose likelihood still rises there are saturated."""

_TERMS = 32  # of each Chebyshev series: derivatives of log P are met to 1e-6, see test_tree_distances.py
_GRID = 32  # points at which the derivative's sign is looked up before the root is refined
_CODES = (STATES + 1) ** 2  # pairs of states, missing ones included
_BLOCK = 6_000_000  # columns × pairs handled at once: 24 MB of codes


@dataclass(frozen=True)
class DistanceReport:
    """What a distance matrix stands on.

    Attributes:
        pairs: number of pairs of rows.
        saturated: pairs at `max_distance`, whose likelihood gives no upper end.
        undefined: pairs that share fewer than `min_overlap` columns; NaN in the matrix.
        filled: pairs of those that were given a distance by way of other rows.
    """

    pairs: int
    saturated: int
    undefined: int
    filled: int = 0


def parse_model(text: str) -> str:
    """Return the distance's name from what the user wrote: `LG`, `lg+g`, `lg+g4` and `LG+Γ` all give `lg`.

    Γ rates belong to every model here, since distances without them come out at half their value; an infinite `alpha` turns
    them off.

    Raises:
        UsageError: no such distance.
    """
    name, _, rates = text.strip().lower().partition("+")
    if name not in DISTANCES or not (rates == "" or (name in MODELS and rates.rstrip("0123456789") in ("g", "γ"))):
        raise UsageError(f"there is no distance or model named {text!r}", fix=f"known: {', '.join(DISTANCES)}")
    return name


def distance_matrix(
    states: npt.NDArray[np.uint8],
    *,
    model: str = "lg+g",
    alpha: float = 1.0,
    min_overlap: int = 10,
    max_distance: float = MAX_DISTANCE,
) -> npt.NDArray[np.float64]:
    """Return the distances between all rows, shape (n, n), expected substitutions per site (`p`: share of differences).

    Args:
        states: alignment as `alphabet.encode_states` gives it, shape (n, columns). Columns in which either row of a pair has
            no residue are left out for that pair (pairwise deletion).
        model: `lg`, `wag`, `jtt`, `poisson` (maximum likelihood, with Γ rates), `kimura` (Kimura 1983) or `p`.
        alpha: shape of the Γ distribution of site rates; infinite for equal rates.
        min_overlap: pairs that share fewer columns get NaN.
        max_distance: pairs whose likelihood still rises there, and `kimura` pairs beyond its range, get this value.

    Raises:
        UsageError: no such model, or an `alpha` that is not positive.
    """
    return distance_matrix_report(states, model=model, alpha=alpha, min_overlap=min_overlap, max_distance=max_distance)[0]


def distance_matrix_report(
    states: npt.NDArray[np.uint8],
    *,
    model: str = "lg+g",
    alpha: float = 1.0,
    min_overlap: int = 10,
    max_distance: float = MAX_DISTANCE,
) -> tuple[npt.NDArray[np.float64], DistanceReport]:
    """Return `distance_matrix` and a report of saturated and undefined pairs."""
    name = parse_model(model)
    n = len(states)
    overlap, differences = _overlap_and_differences(states)
    if name in FORMULAS:
        with np.errstate(divide="ignore", invalid="ignore"):
            share = differences / overlap
        distance = share.astype(np.float64) if name == "p" else _kimura(share, max_distance)
    else:
        distance = _likelihood_matrix(states, overlap, differences, substitution_model(name), alpha, max_distance)
    undefined = overlap < max(min_overlap, 1)
    distance[undefined] = np.nan
    np.fill_diagonal(distance, 0.0)
    # Both matrices are symmetric, so half of what they count off the diagonal is what there is above it.
    np.fill_diagonal(undefined, False)
    saturated = 0 if name == "p" else int(np.count_nonzero(distance >= max_distance)) // 2
    return distance, DistanceReport(n * (n - 1) // 2, saturated, int(np.count_nonzero(undefined)) // 2)


def pair_distances(
    states: npt.NDArray[np.uint8],
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    *,
    model: str = "lg",
    alpha: float = 1.0,
    max_distance: float = MAX_DISTANCE,
) -> npt.NDArray[np.float64]:
    """Return the maximum-likelihood distances of chosen pairs of rows, shape (pairs,); see `distance_matrix`."""
    series = _derivative_series(substitution_model(model).name, alpha, max_distance)
    distance = np.empty(len(first))
    size = max(_BLOCK // max(states.shape[1], 1), 1)
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        distance[part] = _likelihood_distances(states, first[part], second[part], series, max_distance)
    return distance


def fill_undefined(distance: npt.NDArray[np.float64]) -> int:
    """Give pairs without a distance (NaN) one by way of a third row, in place; return how many were filled.

    d(i, j) becomes the least d(i, k) + d(k, j), the tightest bound that the triangle inequality gives; where no row connects
    two, the largest distance of the matrix. Filled values then serve in turn, so that chains of fragments connect.
    """
    missing = np.isnan(distance)
    count = int(np.triu(missing, 1).sum())
    if not count:
        return 0
    largest = float(np.nanmax(distance)) if not missing.all() else 0.0
    while True:
        known = np.where(missing, np.inf, distance)
        rows = np.flatnonzero(missing.any(axis=1))
        changed = False
        for i in rows:
            for j in np.flatnonzero(missing[i]):
                if j > i:
                    best = (known[i] + known[j]).min()
                    if np.isfinite(best):
                        distance[i, j] = distance[j, i] = best
                        changed = True
        missing = np.isnan(distance)
        if not changed or not missing.any():
            break
    distance[missing] = largest
    return count


def _overlap_and_differences(states: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the number of columns that each pair shares and in how many of them it differs, shapes (n, n)."""
    n = len(states)
    present = (states != MISSING).astype(np.float32)
    overlap = present @ present.T
    same = np.zeros((n, n), dtype=np.float32)
    for state in range(STATES):  # one-hot products, one letter at a time: exact in float32 up to 2²⁴ columns
        hot = (states == state).astype(np.float32)
        same += hot @ hot.T
    return overlap, overlap - same


def _kimura(share: npt.NDArray[np.float32], max_distance: float) -> npt.NDArray[np.float64]:
    """Kimura, The Neutral Theory (1983), p. 75: d = −ln(1 − p − p²/5)."""
    p = share.astype(np.float64)
    inside = 1 - p - p * p / 5
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(inside > 0, -np.log(inside), max_distance)
    found = np.minimum(found, max_distance)
    return np.where(np.isnan(p), np.nan, np.abs(found))


def _likelihood_matrix(
    states: npt.NDArray[np.uint8],
    overlap: npt.NDArray[np.float32],
    differences: npt.NDArray[np.float32],
    model: SubstitutionModel,
    alpha: float,
    max_distance: float,
) -> npt.NDArray[np.float64]:
    if not alpha > 0:
        raise UsageError(f"the shape α of the Γ distribution is {alpha}", fix="give a positive number, for example 1")
    n, columns = states.shape
    distance = np.zeros((n, n))
    series = _derivative_series(model.name, alpha, max_distance)
    for i, j in _blocks(n, columns):
        found = _likelihood_distances(states, i, j, series, max_distance)
        found[differences[i, j] == 0] = 0.0
        distance[i, j] = distance[j, i] = found
    return distance


def _blocks(n: int, columns: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield all pairs i < j in blocks of bounded size."""
    size = max(_BLOCK // max(columns, 1), 1)
    first = 0
    while first < n - 1:
        last, pairs = first, 0
        while last < n - 1 and (pairs == 0 or pairs + n - 1 - last <= size):
            pairs += n - 1 - last
            last += 1
        rows = np.arange(first, last)
        i = np.repeat(rows, n - 1 - rows)
        j = np.concatenate([np.arange(row + 1, n) for row in rows])
        yield i, j
        first = last


@functools.lru_cache(maxsize=32)
def _derivative_series(name: str, alpha: float, max_distance: float) -> npt.NDArray[np.float32]:
    """Return the Chebyshev coefficients of d log P_ab / d log t for each pair of states, shape (441, terms).

    In x ∈ [−1, 1], which stands for log t from log MIN_DISTANCE to log max_distance. Pairs with a missing state have zeros.
    """
    model = substitution_model(name)
    nodes = np.polynomial.chebyshev.chebpts1(_TERMS)
    time = np.exp(_to_log_time(nodes, max_distance))
    spectrum = gamma_spectrum(model.eigenvalues, time, alpha)
    slope = spectrum * model.eigenvalues
    if not np.isinf(alpha):
        slope = slope / (1 - model.eigenvalues * time[:, None] / alpha)
    probability = (model.right * spectrum[:, None, :]) @ model.left
    derivative = (model.right * slope[:, None, :]) @ model.left * time[:, None, None] / probability
    values = np.zeros((_TERMS, STATES + 1, STATES + 1))
    values[:, :STATES, :STATES] = (derivative + derivative.transpose(0, 2, 1)) / 2  # alike but for rounding
    vandermonde = np.polynomial.chebyshev.chebvander(nodes, _TERMS - 1)
    coefficients = np.linalg.solve(vandermonde, values.reshape(_TERMS, _CODES))
    return np.ascontiguousarray(coefficients.T, dtype=np.float32)


def _to_log_time(x: npt.NDArray[np.float64], max_distance: float) -> npt.NDArray[np.float64]:
    low, high = np.log(MIN_DISTANCE), np.log(max_distance)
    return low + (x + 1) / 2 * (high - low)


def _likelihood_distances(
    states: npt.NDArray[np.uint8],
    i: npt.NDArray[np.int64],
    j: npt.NDArray[np.int64],
    series: npt.NDArray[np.float32],
    max_distance: float,
) -> npt.NDArray[np.float64]:
    """Return the maximum-likelihood distances of the pairs (i, j), shape (pairs,)."""
    from scipy import sparse

    columns = states.shape[1]
    code = states[i].astype(np.int32) * (STATES + 1) + states[j]
    starts = np.arange(len(i) + 1, dtype=np.int64) * columns
    counts = sparse.csr_matrix((np.ones(code.size, dtype=np.float32), code.ravel(), starts), shape=(len(i), _CODES))
    curve = counts @ series  # (pairs, terms): Chebyshev coefficients of d log L / d log t

    # Where does the likelihood have its maximum? Its integral over the grid is highest at the start of the right interval.
    grid = np.cos(np.pi * np.arange(_GRID, -1, -1) / _GRID)
    at_grid = curve @ np.polynomial.chebyshev.chebvander(grid, _TERMS - 1).T.astype(np.float32)
    steps = (at_grid[:, 1:] + at_grid[:, :-1]) / 2 * np.diff(grid).astype(np.float32)
    likelihood = np.concatenate([np.zeros((len(i), 1), dtype=np.float32), np.cumsum(steps, axis=1)], axis=1)
    peak = likelihood.argmax(axis=1)
    row = np.arange(len(i))
    rises = at_grid[row, peak] > 0  # the maximum lies right of the grid point, else left of it
    left = np.where(rises, peak, np.maximum(peak - 1, 0))
    right = np.where(rises, np.minimum(peak + 1, _GRID), peak)
    x = _root(curve, grid[left], grid[right], at_grid[row, left], at_grid[row, right])
    return np.where(left == _GRID, max_distance, np.exp(_to_log_time(x, max_distance)))


def _root(
    curve: npt.NDArray[np.float32],
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    value_low: npt.NDArray[np.float32],
    value_high: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """Return where each Chebyshev series falls through zero between `low` and `high`, where it has the values given.

    Newton steps from the chord's root, kept inside the bracket by bisection; pairs that have arrived are left alone. Where
    there is no fall (the maximum lies on the edge of the range) the edge is returned.
    """
    falls = (value_low > 0) & (value_high <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(falls, low + (high - low) * value_low / (value_low - value_high), np.where(value_low > 0, high, low))
    active = np.flatnonzero(falls)
    low, high = low[active], high[active]
    series = np.ascontiguousarray(curve[active].T, dtype=np.float64)  # (terms, pairs): a term of all pairs in one stretch
    slopes = np.asarray(np.polynomial.chebyshev.chebder(series), dtype=np.float64)
    for _ in range(60):
        if not len(active):
            break
        here = x[active]
        value = _clenshaw(series, here)
        low = np.where(value > 0, here, low)
        high = np.where(value > 0, high, here)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = here - value / _clenshaw(slopes, here)
        new = np.where((new >= low) & (new <= high), new, (low + high) / 2)  # also for NaN
        x[active] = new
        moving = np.abs(new - here) > 1e-6
        active, low, high = active[moving], low[moving], high[moving]
        series, slopes = series[:, moving], slopes[:, moving]
    return x


def _clenshaw(coefficients: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the Chebyshev series in each column, shape (terms, columns), at the column's own x, shape (columns,)."""
    next_one = np.zeros_like(x)
    after = np.zeros_like(x)
    twice = 2 * x
    for k in range(len(coefficients) - 1, 0, -1):
        next_one, after = coefficients[k] + twice * next_one - after, next_one
    return coefficients[0] + x * next_one - after
