"""Balanced minimum evolution with nearest-neighbour interchanges, on LG+Γ distances (scikit-bio).

Desper & Gascuel, J. Comput. Biol. 9:687 (2002), doi:10.1089/106652702761034136. Needs no external program. Memory is
quadratic in the number of sequences: 20 bytes per pair above 2,000 sequences.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.tree.distances.matrix import DISTANCES
from phylocli.tree.engines._distances import distances
from phylocli.tree.settings import Inferred, Settings, Traits
from phylocli.tree.skbio import from_skbio, import_skbio, version

TRAITS = Traits(models=DISTANCES, uses_distances=True, automatic_up_to=2_000)


def infer(states: npt.NDArray[np.uint8], settings: Settings) -> Inferred:
    """Infer the tree of at least four distinct rows."""
    skbio = import_skbio()
    matrix, description, alpha = distances(states, settings)
    start = skbio.tree.bme(matrix, neg_as_zero=False, parallel=False)
    tree = skbio.tree.nni(start, matrix, balanced=True, neg_as_zero=False)
    return Inferred(from_skbio(tree), f"BME+NNI, {version()}, {description}", alpha)
