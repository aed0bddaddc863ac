"""Sweeps: several recipes, settings and seeds over one set of families, as one table and one figure."""

from __future__ import annotations

from phylocli.train.sweep.plan import Planned, Variation, band_variation, plan, vary
from phylocli.train.sweep.run import sweep

__all__ = ["Planned", "Variation", "band_variation", "plan", "sweep", "vary"]
