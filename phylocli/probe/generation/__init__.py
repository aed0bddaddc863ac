"""Generated sequences of families under evaluation, the natural ones they are compared with, and baselines."""

from __future__ import annotations

from phylocli.probe.generation.baselines import baselines
from phylocli.probe.generation.natural import NaturalFamilies
from phylocli.probe.generation.sequence_sets import SequenceSet, read_set

__all__ = ["NaturalFamilies", "SequenceSet", "baselines", "read_set"]
