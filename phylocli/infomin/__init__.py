"""InfoMin analysis: embedding quality against the information shared by two views (Tian et al. 2020).

>>> from phylocli.infomin import analyse
>>> table = analyse("examples/families.sto", "infomin", steps=200, seeds=[0, 1, 2])
"""

from __future__ import annotations

from phylocli.infomin.analysis import analyse
from phylocli.infomin.cells import Cell, band_cells, view_cells
from phylocli.infomin.measuring import QUALITIES, measure

__all__ = ["QUALITIES", "Cell", "analyse", "band_cells", "measure", "view_cells"]
