"""The baseline for probes of residues: each residue with its neighbours, one-hot."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.probe.baselines._kmers import kmer_frequencies
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.residue_vectors import OneHot


def window_baseline(ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return the baseline for residues: one-hot residues with their seven neighbours on either side."""
    letters = dict(zip(ids, sequences, strict=True))
    vectors = np.stack([kmer_frequencies(s, 1) for s in sequences])
    source = "one-hot residues in a window of 15"
    return Embedding(
        "window of 15", list(ids), vectors, source, baseline=True, residues=OneHot(letters, 15), only_residues=True
    )
