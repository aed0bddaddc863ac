"""Evolutionary distances and tree inference."""

from __future__ import annotations

from phylocli.formats.failures import Failures
from phylocli.tree.batch_refine import refine_many
from phylocli.tree.comparison.trees import compare_trees
from phylocli.tree.distances.matrix import distance_matrix
from phylocli.tree.infer import infer_trees
from phylocli.tree.models import SubstitutionModel, discrete_gamma, substitution_model
from phylocli.tree.rooting import reroot, root

__all__ = [
    "Failures",
    "SubstitutionModel",
    "compare_trees",
    "discrete_gamma",
    "distance_matrix",
    "infer_trees",
    "refine_many",
    "reroot",
    "root",
    "substitution_model",
]
