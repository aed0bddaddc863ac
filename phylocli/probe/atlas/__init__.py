"""An interactive map of an embedding table: one HTML file that needs nothing else."""

from __future__ import annotations

from phylocli.probe.atlas.draw import draw_map
from phylocli.probe.atlas.page import render_map

__all__ = ["draw_map", "render_map"]
