"""Frequencies of the 8,000 tripeptides minus those of independent residues."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.probe.baselines._kmers import kmer_embedding
from phylocli.probe.inputs.embedding import Embedding


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the tripeptide frequencies of sequences, (n, 8000)."""
    return kmer_embedding(name, 3, ids, sequences)
