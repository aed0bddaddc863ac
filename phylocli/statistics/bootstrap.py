"""Estimates with uncertainty: bootstrap intervals, paired differences, correction for multiple comparisons.

Every task returns `Estimate`s: a value, and a way to recompute it from a resample of its items. Two embeddings are resampled
with the same draws, so that items that are difficult for both cancel in the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2


@dataclass
class Estimate:
    """One estimate of an evaluation, and how to recompute it on a resample.

    Attributes:
        metric: its name, a key of the task's `METRICS`.
        value: the estimate.
        n: number of items (queries, test items, families).
        items: per-item values whose mean is `value`, shape (n,); None if the estimate is not a mean.
        statistic: the estimate of the items with these indices (sampled from 0 … n−1 with replacement); None if `items` is
            given.
        rows: the row of the dataset of each item, shape (n,); None if items are something else (families).
        groups: for items that are not rows of the dataset, the group code of each, shape (n,).
        chance: the expected value of an uninformative embedding; None if this has no meaning.
        interval: `percentile` of the replicates, or `normal`: the value ± 1.96 standard deviations of the replicates, for
            statistics that repeated items bias (clusterings, ranks of matrices).
        replicates: maximum number of replicates, for statistics that are slow to compute.
        bounds: minimum and maximum of the statistic; a normal interval is clipped to them.
    """

    metric: str
    value: float
    n: int
    items: FloatArray | None = None
    statistic: Callable[[IntArray], float] | None = None
    rows: IntArray | None = None
    groups: IntArray | None = None
    chance: float | None = None
    interval: Literal["percentile", "normal"] = "percentile"
    replicates: int | None = None
    bounds: tuple[float, float] = (-np.inf, np.inf)


def mean_estimate(
    metric: str,
    items: npt.ArrayLike,
    rows: IntArray | None = None,
    chance: float | None = None,
    *,
    groups: IntArray | None = None,
) -> Estimate:
    """Return the estimate that is the mean of per-item values; NaN if there are no items."""
    values = np.asarray(items, dtype=np.float64)
    value = float(values.mean()) if len(values) else float("nan")
    return Estimate(metric, value, len(values), items=values, rows=rows, groups=groups, chance=chance)


def resamples(n: int, replicates: int, seed: int, groups: IntArray | None = None) -> Iterator[IntArray]:
    """Yield `replicates` arrays of indices sampled with replacement from 0 … n−1.

    Args:
        n: number of items.
        replicates: number of arrays.
        seed: the same seed and n give the same draws, which pairs two embeddings.
        groups: group code of each item, shape (n,): whole groups are sampled instead of items, as many as there are, so that
            relatives stay together (the cluster bootstrap; Field & Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x).
    """
    rng = np.random.default_rng([seed, n])
    if groups is None:
        for _ in range(replicates):
            yield rng.integers(0, n, n)
        return
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[0]] - 1)) if n else np.zeros(0, dtype=np.int64)
    members = np.split(order, starts[1:])
    for _ in range(replicates):
        yield np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))])


def replicate(estimate: Estimate, replicates: int, seed: int, groups: IntArray | None = None) -> FloatArray:
    """Return the estimate on each resample, shape (replicates,) or fewer if the estimate limits their number."""
    count = min(replicates, estimate.replicates or replicates)
    if estimate.n == 0:
        return np.full(count, np.nan)
    draws = resamples(estimate.n, count, seed, groups)
    if estimate.items is not None:
        items = estimate.items
        return np.array([items[index].mean() for index in draws])
    assert estimate.statistic is not None
    return np.array([estimate.statistic(index) for index in draws])


def interval(estimate: Estimate, replicates: FloatArray) -> tuple[float, float]:
    """Return the 95 % interval of an estimate from its replicates.

    If all items are 0 or all are 1, the replicates have no variance and the interval is the exact binomial one (Clopper &
    Pearson 1934), so that three correct answers out of three do not count as certain.
    """
    found = replicates[np.isfinite(replicates)]
    if estimate.n < 2 or len(found) < 2 or not np.isfinite(estimate.value):
        return float("nan"), float("nan")
    if estimate.items is not None and estimate.value in (0.0, 1.0) and np.ptp(estimate.items) == 0:
        bound = _TAIL ** (1 / estimate.n)
        return (bound, 1.0) if estimate.value == 1.0 else (0.0, 1 - bound)
    if estimate.interval == "normal":
        from scipy.stats import norm

        half = float(norm.ppf(1 - _TAIL) * found.std(ddof=1))
        least, greatest = estimate.bounds
        return max(estimate.value - half, least), min(estimate.value + half, greatest)
    low, high = np.quantile(found, [_TAIL, 1 - _TAIL])
    # The percentile interval of a skewed statistic may narrowly miss the value itself.
    return min(float(low), estimate.value), max(float(high), estimate.value)


@dataclass
class Difference:
    """The difference of one estimate between two embeddings, first minus other.

    Attributes:
        value, low, high: the difference and its 95 % interval.
        p: two-sided p-value of "there is no difference", not corrected.
    """

    value: float
    low: float
    high: float
    p: float


def paired_difference(
    a: Estimate, b: Estimate, replicates_a: FloatArray, replicates_b: FloatArray, units: int
) -> Difference:
    """Return the difference a − b of one estimate on the same items, from replicates on the same draws.

    The standard error is the standard deviation of the replicates' differences; interval and p-value are Student's, with one
    degree of freedom fewer than there are independent units (items, or groups if groups are sampled). If every replicate
    gives the same difference, p is that of the sign test, 2^(1−units).

    Args:
        a, b: the two estimates.
        replicates_a, replicates_b: from `replicate` with one seed.
        units: number of sampled units.
    """
    from scipy.stats import t

    value = a.value - b.value
    gaps = replicates_a - replicates_b
    gaps = gaps[np.isfinite(gaps)]
    if len(gaps) < 2 or units < 2 or not np.isfinite(value):
        return Difference(value, float("nan"), float("nan"), float("nan"))
    error = float(gaps.std(ddof=1))
    if error < 1e-12:
        return Difference(value, value, value, 1.0 if abs(value) < 1e-12 else min(1.0, 2.0 ** (1 - units)))
    half = float(t.ppf(1 - _TAIL, units - 1)) * error
    return Difference(value, value - half, value + half, float(2 * t.sf(abs(value) / error, units - 1)))


def holm(p: npt.ArrayLike) -> FloatArray:
    """Return p-values corrected for multiple comparisons (Holm 1979, Scand. J. Statist. 6:65); NaN stays NaN and is not
    counted.

    Args:
        p: uncorrected p-values, shape (comparisons,).
    """
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if len(order) else scaled
    return corrected
