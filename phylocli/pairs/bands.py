"""Distance bands of a family, and the number of pairs per band."""

from __future__ import annotations

import logging
import math

from phylocli.config.pairs import SamplingConfig
from phylocli.pairs.sampler import PairSampler

logger = logging.getLogger(__name__)

NARROW = 1.15
"""Bands whose ends differ by less than this factor are too narrow: log distances of good trees have an error of about 13
%."""

Band = tuple[float, float]


def numbers_by_band(config: SamplingConfig) -> list[int | None]:
    """Return the number of pairs per band: equally many, with one more for the first ones if the number is not divisible."""
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
        # Adjacent bins share a distance. It belongs to the bin of exactly this distance (x:x) if there is one, else to the
        # bin that starts there.
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
    """Warn of bands that are narrower than the error of inferred trees."""
    for lo, hi in config.bins or ((config.min_dist, config.max_dist),):
        if lo > 0 and hi < NARROW * lo:
            logger.warning(
                f"The band from {lo:g} to {hi:g} is narrower than the error of inferred trees: distances in a good tree "
                "deviate by about 13 % from the true ones, so bands should be at least 15 % wide"
            )
