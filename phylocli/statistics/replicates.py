"""The mean of a few replicates, such as runs with different seeds, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEVEL = 0.95


def mean_interval(
    values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval by Student's t with n − 1 degrees of freedom; NaN for a single value.

    The interval of a bounded metric is within its bounds: it is computed on the logit scale, which has none, and
    transformed back. With two replicates Student's factor is 12.7, so that the interval is wide, as it must be.

    Args:
        values: one per replicate.
        bounds: least and greatest possible value of the metric, such as (0, 1) for an accuracy.

    Examples:
        >>> from phylocli.statistics.replicates import mean_interval
        >>> [round(x, 2) for x in mean_interval([0.10, 0.15], (0, 1))]
        [0.12, 0.01, 0.73]
    """
    from scipy.special import expit, logit
    from scipy.stats import t

    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean())
    if len(found) < 2:
        return mean, math.nan, math.nan
    factor = float(t.ppf((1 + LEVEL) / 2, len(found) - 1)) / math.sqrt(len(found))
    least, greatest = bounds
    if math.isfinite(greatest - least) and ((found > least) & (found < greatest)).all():
        scaled = logit((found - least) / (greatest - least))
        half = factor * scaled.std(ddof=1)
        low, high = (float(expit(scaled.mean() + side * half)) * (greatest - least) + least for side in (-1, 1))
        return mean, min(low, mean), max(high, mean)
    half = factor * float(found.std(ddof=1))
    return mean, max(mean - half, least), min(mean + half, greatest)
