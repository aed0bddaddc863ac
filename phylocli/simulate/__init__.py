"""Simulated families: trees, and sequences evolved along them, with known truth."""

from __future__ import annotations

from phylocli.simulate.families import SimulatedFamily, simulate, simulate_families
from phylocli.simulate.indels import IndelModel
from phylocli.simulate.settings import Settings, TreeModel
from phylocli.simulate.sites import Motifs, RateModel
from phylocli.simulate.substitutions import Substitutions, simulate_states
from phylocli.simulate.trees import birth_death, coalescent, random_tree, relaxed, scaled
from phylocli.simulate.write import write_simulated

__all__ = [
    "IndelModel",
    "Motifs",
    "RateModel",
    "Settings",
    "SimulatedFamily",
    "Substitutions",
    "TreeModel",
    "birth_death",
    "coalescent",
    "random_tree",
    "relaxed",
    "scaled",
    "simulate",
    "simulate_families",
    "simulate_states",
    "write_simulated",
]
