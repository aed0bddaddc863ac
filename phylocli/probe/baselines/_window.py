"""The baseline for residue probes: one-hot encoding of each residue and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from phylocli.probe.baselines._kmers import kmer_frequencies
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.inputs.residue_vectors import OneHot


def window_baseline(ids: SequenceOf[str], sequences: SequenceOf[str]) -> Embedding:
    """Return one-hot residues with seven neighbours on either side, as a baseline for residue probes."""
    letters = dict(zip(ids, sequences, strict=True))
    vectors = np.stack([kmer_frequencies(s, 1) for s in sequences])
    source = "one-hot residues in a window of 15"
    return Embedding(
        "window of 15", list(ids), vectors, source, baseline=True, residues=OneHot(letters, 15), only_residues=True
    )
