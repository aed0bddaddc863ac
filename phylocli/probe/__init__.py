"""What do embeddings know: probes with baselines, intervals and paired differences, and the report.

>>> from phylocli.probe import run_probes
>>> metrics = run_probes(["emb.parquet"], "labels.tsv", "report", sequences="seqs.fasta")
"""

from __future__ import annotations

from phylocli.formats.embeddings import read_embeddings
from phylocli.probe.baselines import BASELINES, baseline
from phylocli.probe.inputs.dataset import Dataset, make_dataset, read_labels
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.tables import explain_inputs
from phylocli.probe.map import draw_map
from phylocli.probe.report.html import render
from phylocli.probe.run import run_probes, task_names

__all__ = [
    "BASELINES",
    "Dataset",
    "Embedding",
    "baseline",
    "draw_map",
    "explain_inputs",
    "make_dataset",
    "read_embeddings",
    "read_labels",
    "render",
    "run_probes",
    "task_names",
]
