"""Homologs against other views: paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from phylocli.infomin.cells import Cell
from phylocli.infomin.measuring import BOUNDS, QUALITIES
from phylocli.statistics.bootstrap import holm
from phylocli.statistics.replicates import mean_interval


@dataclass
class Comparison:
    """How much better a band is than another view by one quality, with a 95 % interval; None where that is undefined."""

    band: str
    view: str
    quality: str
    seeds: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None


def compare(table: pl.DataFrame, cells: Sequence[Cell]) -> pl.DataFrame:
    """Return the difference in quality between each band and each other view, seed by seed, for each metric.

    Runs with the same seed hold out the same members and start from the same weights, so their differences are paired. A
    view that is matched to bands by distance is compared with the band of its distance, the others with all bands.

    Args:
        table: one row per run, as written by `analyse`: `view`, `seed` and the quality metrics.
        cells: all views.

    Returns:
        `band`, `view`, `quality`, `seeds`, `difference` (the band's minus the view's), `low` and `high` (95 %, Student's t;
        null for one seed), `p` (paired t test, two-sided) and `p_holm`, corrected over all rows of one metric.
    """
    rows: list[Comparison] = []
    for quality in QUALITIES:
        found = []
        for band, view in _pairs(cells):
            gaps = _gaps(table, band.name, view.name, quality)
            if len(gaps):
                difference, low, high = mean_interval(list(gaps))
                width = BOUNDS[quality][1] - BOUNDS[quality][0]  # clipped, not transformed: it agrees with the t test
                low, high = max(low, -width), min(high, width)
                ends, p = (_finite(low), _finite(high)), _finite(_p(gaps))
                found.append(Comparison(band.name, view.name, quality, len(gaps), difference, *ends, p))
        known = [(row, row.p) for row in found if row.p is not None]
        for (row, _), corrected in zip(known, holm([p for _, p in known]), strict=True):
            row.p_holm = float(corrected)
        rows += found
    numbers = dict.fromkeys(("difference", "low", "high", "p", "p_holm"), pl.Float64)
    words = {"band": pl.String, "view": pl.String, "quality": pl.String}
    return pl.DataFrame([asdict(row) for row in rows], schema={**words, "seeds": pl.Int64, **numbers})


def _pairs(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    bands = [cell for cell in cells if cell.kind == "phylogenetic"]
    found = []
    for view in cells:
        if view.kind == "phylogenetic":
            continue
        if view.distance:
            found.append((min(bands, key=lambda band: abs((band.distance or 0.0) - (view.distance or 0.0))), view))
        else:
            found += [(band, view) for band in bands]
    return found


def _gaps(table: pl.DataFrame, band: str, view: str, quality: str) -> Any:
    known = table.filter(pl.col(quality).is_not_null())
    both = known.filter(pl.col("view") == band).join(known.filter(pl.col("view") == view), on="seed", suffix="_view")
    return (both[quality] - both[f"{quality}_view"]).to_numpy()


def _p(gaps: Any) -> float:
    from scipy.stats import ttest_1samp

    if len(gaps) < 2 or np.ptp(gaps) == 0:
        return math.nan
    return float(ttest_1samp(gaps, 0.0).pvalue)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
