"""Interactive maps of embedding tables as self-contained HTML files."""

from __future__ import annotations

from phylocli.probe.map.draw import draw_map
from phylocli.probe.map.page import render_map

__all__ = ["draw_map", "render_map"]
