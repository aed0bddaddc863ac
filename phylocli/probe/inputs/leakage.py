"""Leakage: sequence identity between scored and training sequences, estimated from shared 5-mers without alignment."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet
from phylocli.statistics.sampling import subsample

K = 5
NEAR_DUPLICATE = 0.9
"""Minimum estimated identity of near-duplicates."""

RELATED = 0.5
BLOCK = 500
MAX_SHARED = 2_000_000_000
"""Maximum number of shared 5-mers that are counted (about ten seconds); variants of one protein share nearly all."""

MIN_COMPARED = 200


def _kmer_sets(sequences: SequenceOf[str]) -> Any:
    """Return which 5-mers each sequence has as a sparse matrix of ones, shape (n, 20^5)."""
    from scipy.sparse import csr_matrix

    size = len(alphabet.AMINO_ACIDS)
    powers = size ** np.arange(K - 1, -1, -1)
    columns, ends = [], [0]
    for sequence in sequences:
        states = alphabet.encode_states([sequence])[0].astype(np.int64)
        found = np.zeros(0, dtype=np.int64)
        if len(states) >= K:
            windows = np.lib.stride_tricks.sliding_window_view(states, K)
            found = np.unique(windows[(windows < size).all(axis=1)] @ powers)
        columns.append(found)
        ends.append(ends[-1] + len(found))
    index = np.concatenate(columns) if columns else np.zeros(0, dtype=np.int64)
    return csr_matrix((np.ones(len(index), dtype=np.float32), index, ends), shape=(len(columns), size**K))


def nearest_identity(scored: SequenceOf[str], training: SequenceOf[str]) -> npt.NDArray[np.float64]:
    """Return the estimated identity of each scored sequence with its nearest training sequence, shape (scored,).

    If a fraction c of a sequence's 5-mers occurs in another, their identity is about c^(1/5), because all five residues of a
    5-mer must be identical (the containment form of the Mash distance; Ondov et al. 2016, doi:10.1186/s13059-016-0997-x).
    The estimate is accurate for near-duplicates; values below about 0.4 only mean that there is no close relative.
    """
    if not len(scored) or not len(training):
        return np.zeros(len(scored))
    return _nearest(_kmer_sets(scored), _kmer_sets(training))


def _nearest(mine: Any, theirs: Any) -> npt.NDArray[np.float64]:
    """Compute `nearest_identity` from the sets of 5-mers."""
    counts, columns = np.maximum(np.diff(mine.indptr), 1), theirs.T.tocsr()
    best = np.zeros(mine.shape[0])
    for start in range(0, len(best), BLOCK):
        shared = mine[start : start + BLOCK] @ columns
        best[start : start + BLOCK] = shared.max(axis=1).toarray().ravel()
    return np.asarray((best / counts) ** (1 / K))


def identity_clusters(sequences: SequenceOf[str], threshold: float) -> npt.NDArray[np.int64]:
    """Return the cluster of each sequence, shape (n,): single linkage of pairs whose estimated identity is at least this.

    Estimated as in `nearest_identity`, over the shorter sequence of a pair, so that a fragment is in the cluster of its
    protein. No two sequences in different clusters are that similar.
    """
    from scipy.sparse import coo_matrix, vstack
    from scipy.sparse.csgraph import connected_components

    words = _kmer_sets(sequences)
    counts = np.maximum(np.diff(words.indptr), 1)
    other = words.T.tocsr()
    blocks = []
    for start in range(0, len(sequences), BLOCK):
        shared = (words[start : start + BLOCK] @ other).tocoo()
        shorter = np.minimum(counts[start + shared.row], counts[shared.col])
        near = shared.data / shorter >= threshold**K
        size = (min(BLOCK, len(sequences) - start), len(sequences))
        blocks.append(coo_matrix((np.ones(near.sum(), dtype=bool), (shared.row[near], shared.col[near])), shape=size))
    return np.asarray(connected_components(vstack(blocks), directed=False)[1], dtype=np.int64)


@dataclass
class Leakage:
    """How similar the scored sequences are to the training sequences.

    Attributes:
        median: of the estimated identities with the nearest training sequence.
        related: fraction of scored sequences with an estimated identity of at least `RELATED`.
        near_duplicates: number of them with at least `NEAR_DUPLICATE`.
        scored, training: number of sequences.
        compared: number of scored sequences that were compared; a random subset if many are similar to each other.
    """

    median: float
    related: float
    near_duplicates: int
    scored: int
    training: int
    compared: int


def find_leakage(scored: SequenceOf[str], training: SequenceOf[str], seed: int = 0) -> Leakage:
    """Return the leakage between two sets of sequences, neither of them empty."""
    mine, theirs = _kmer_sets(scored), _kmer_sets(training)
    shared = float((mine @ np.asarray(theirs.sum(axis=0)).ravel()).sum())
    if shared > MAX_SHARED:
        affordable = max(MIN_COMPARED, int(len(scored) * MAX_SHARED / shared))
        mine = mine[subsample(np.arange(len(scored)), affordable, seed)]
    identity = _nearest(mine, theirs)
    return Leakage(
        float(np.median(identity)),
        float(np.mean(identity >= RELATED)),
        int(np.count_nonzero(identity >= NEAR_DUPLICATE)),
        len(scored),
        len(training),
        len(identity),
    )
