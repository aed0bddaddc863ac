"""3Di: the 20 letters of Foldseek's structural alphabet, of tertiary interactions (van Kempen et al. 2024).

A letter describes the geometry of a residue and its nearest neighbour in space. doi:10.1038/s41587-023-01773-0.
"""

from __future__ import annotations

from phylocli.models.heads.base import Categorical

HEAD = Categorical("3di", "three_di", "ACDEFGHIKLMNPQRSTVWY", "3Di", missing=".?X")
