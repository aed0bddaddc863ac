"""Frequencies of the 400 dipeptides minus those of independent residues."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

from phylocli.probe.baselines._kmers import kmer_embedding
from phylocli.probe.inputs.embedding import Embedding

BY_DEFAULT = True


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the dipeptide frequencies of sequences, (n, 400)."""
    return kmer_embedding(name, 2, ids, sequences)
