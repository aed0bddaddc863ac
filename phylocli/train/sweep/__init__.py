"""Sweeps: runs with several recipes, settings and seeds on the same families, summarised in a table and a figure."""

from __future__ import annotations

from phylocli.train.sweep.plan import Planned, Variation, band_variation, plan, vary
from phylocli.train.sweep.run import sweep

__all__ = ["Planned", "Variation", "band_variation", "plan", "sweep", "vary"]
