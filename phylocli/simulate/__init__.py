"""Simulated families: trees, and sequences that evolve along them, with the truth known."""

from __future__ import annotations

from phylocli.simulate.indels import IndelModel
from phylocli.simulate.substitutions import Substitutions, simulate_states
from phylocli.simulate.trees import birth_death, coalescent, random_tree, relaxed, scaled

__all__ = [
    "IndelModel",
    "Substitutions",
    "birth_death",
    "coalescent",
    "random_tree",
    "relaxed",
    "scaled",
    "simulate_states",
]
