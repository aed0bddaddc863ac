"""Distance bands in a family's own terms, and how many pairs each is to give."""

from __future__ import annotations

import logging
import math

from phylocli.config.pairs import SamplingConfig
from phylocli.pairs.sampler import PairSampler

logger = logging.getLogger(__name__)

NARROW = 1.15
"""Bands whose ends differ by less than this factor mean little: log distances of good trees scatter by about 13 %."""

Band = tuple[float, float]


def numbers_by_band(config: SamplingConfig) -> list[int | None]:
    """Return how many pairs each band is to give: equally many, the first ones one more where the number does not divide."""
    bands = len(config.bins) if config.bins else 1
    if config.number is None:
        return [None] * bands
    return [config.number // bands + (k < config.number % bands) for k in range(bands)]


def bands_of(config: SamplingConfig, sampler: PairSampler) -> list[Band]:
    """Return the bands of one family in expected substitutions per site, both ends included."""
    scale = float(sampler.quantiles([0.5])[0]) if config.unit == "relative" else 1.0

    def scaled(bound: float) -> float:
        return scale * bound if bound < math.inf else bound

    if config.bins:
        # Bins that touch share a distance. It belongs to the bin of this one distance (x:x) where there is one, else to
        # the bin that starts there.
        points = {lo for lo, hi in config.bins if lo == hi}
        starts = {lo for lo, _ in config.bins}
        return [
            (scaled(lo), scaled(hi))
            if lo == hi
            else (
                math.nextafter(scaled(lo), math.inf) if lo in points else scaled(lo),
                math.nextafter(scaled(hi), -math.inf) if hi in starts else scaled(hi),
            )
            for lo, hi in config.bins
        ]
    lo, hi = scaled(config.min_dist), scaled(config.max_dist)
    if config.quantiles:
        low, high = sampler.quantiles(list(config.quantiles)).tolist()
        lo, hi = max(lo, low), min(hi, high)
    return [(lo, hi)]


def warn_if_narrow(config: SamplingConfig) -> None:
    """Warn of bands that are narrower than inferred trees resolve."""
    for lo, hi in config.bins or ((config.min_dist, config.max_dist),):
        if lo > 0 and hi < NARROW * lo:
            logger.warning(
                f"The band from {lo:g} to {hi:g} is narrower than inferred trees resolve: distances in a good tree scatter "
                "by about 13 % around the true ones, so bands should be at least 15 % wide"
            )
