"""Mutual information as a measurement: estimators against known information, and between tables of embeddings.

>>> from phylocli.mi import PRESETS, run_benchmark
>>> rows = run_benchmark(PRESETS["quick"], "rows.tsv", figures=["staircase.svg"])
>>> from phylocli.mi import read_pairs, run_estimate
>>> found = run_estimate(read_pairs("a.parquet", "b.parquet"), "information.tsv")
>>> from phylocli.mi import run_usable
>>> rows = run_usable("a.parquet", "labels.tsv", "usable.tsv", MiUsableConfig(column="family"))
"""

from __future__ import annotations

from phylocli.mi.benchmark import plan_of, run_benchmark
from phylocli.mi.estimate import Information, estimate, run_estimate
from phylocli.mi.gaussians import Gaussians
from phylocli.mi.paired import Paired, read_pairs
from phylocli.mi.staircase import PRESETS, Plan, Row
from phylocli.mi.usable import UsableInformation, run_usable, usable

__all__ = [
    "PRESETS",
    "Gaussians",
    "Information",
    "Paired",
    "Plan",
    "Row",
    "UsableInformation",
    "estimate",
    "plan_of",
    "read_pairs",
    "run_benchmark",
    "run_estimate",
    "run_usable",
    "usable",
]
