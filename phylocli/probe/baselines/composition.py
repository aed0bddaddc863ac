"""Amino-acid composition: the frequencies of the 20 amino acids."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.probe.baselines._kmers import kmer_frequencies
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.residue_vectors import OneHot

BY_DEFAULT = True


def embed(name: str, ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the composition of sequences, (n, 20), with one-hot residues as residue embeddings."""
    vectors = np.stack([kmer_frequencies(s, 1) for s in sequences])
    source = "relative frequencies of the 20 amino acids"
    residues = OneHot(dict(zip(ids, sequences, strict=True)))
    return Embedding(name, list(ids), vectors, source, baseline=True, residues=residues)
