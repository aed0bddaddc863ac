"""The profile: the distribution of the 20 amino acids at the position of a residue in an alignment of its homologs.

Profiles carry more about structure and function than a sequence does (Gribskov, McLachlan and Eisenberg 1987,
doi:10.1073/pnas.84.13.4355). Predicting it from one sequence: Sturmfels, Vig, Madani and Rajani 2020, arXiv 2012.00195.
"""

from __future__ import annotations

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.models.heads.base import Distribution

HEAD = Distribution("profile", "profile", AMINO_ACIDS, "family profile")
