"""Neighbour joining, as a reference, on LG+Γ distances (scikit-bio).

Saitou & Nei, Mol. Biol. Evol. 4:406 (1987), doi:10.1093/oxfordjournals.molbev.a040454. Time is cubic in the number of
sequences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.tree.distances.matrix import DISTANCES
from phylocli.tree.engines._distances import distances
from phylocli.tree.settings import Inferred, Settings, Traits
from phylocli.tree.skbio import from_skbio, import_skbio, version

TRAITS = Traits(models=DISTANCES, uses_distances=True)


def infer(states: npt.NDArray[np.uint8], settings: Settings) -> Inferred:
    """Infer the tree of at least four distinct rows."""
    matrix, description, alpha = distances(states, settings)
    tree = import_skbio().tree.nj(matrix, neg_as_zero=False, inplace=True)
    return Inferred(from_skbio(tree), f"neighbour joining, {version()}, {description}", alpha)
