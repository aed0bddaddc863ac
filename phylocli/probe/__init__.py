"""Evaluation of embeddings: probes with baselines, confidence intervals and paired differences, and the report.

>>> from phylocli.probe import probe
>>> metrics = probe("emb.parquet", "labels.tsv", sequences="seqs.fasta")  # doctest: +SKIP
>>> metrics.write_report("report")  # doctest: +SKIP
"""

from __future__ import annotations

from phylocli.core.callable_module import make_callable
from phylocli.formats.embeddings import read_embeddings
from phylocli.probe.baselines import baseline
from phylocli.probe.evaluate import evaluate, task_names
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.labels import read_labels
from phylocli.probe.inputs.tables import NamedSource, explain_inputs
from phylocli.probe.labels import make_labels, write_labels
from phylocli.probe.map import draw_map
from phylocli.probe.metrics import Metrics
from phylocli.probe.pipeline import probe, run_probes

__all__ = [
    "Dataset",
    "Embedding",
    "Metrics",
    "NamedSource",
    "baseline",
    "draw_map",
    "evaluate",
    "explain_inputs",
    "make_labels",
    "probe",
    "read_embeddings",
    "read_labels",
    "run_probes",
    "task_names",
    "write_labels",
]

make_callable(__name__, probe)
