"""Labels of sequences from family records, FASTA headers, GO annotations, tables of UniProt and other tables."""

from __future__ import annotations

from phylocli.probe.labels.collected import Labels
from phylocli.probe.labels.making import make_labels, write_labels
from phylocli.probe.labels.matching import match_ids
from phylocli.probe.labels.sources import read_source

__all__ = ["Labels", "make_labels", "match_ids", "read_source", "write_labels"]
