"""Sequence identity estimated from shared 5-mers, without alignment: of nearest sequences, and clusters of similar ones."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet

K = 5
NEAR_DUPLICATE = 0.9
"""Minimum estimated identity of near-duplicates."""

_BLOCK = 500


def kmer_sets(sequences: SequenceOf[str]) -> Any:
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
    return nearest(kmer_sets(scored), kmer_sets(training))


def nearest(mine: Any, theirs: Any) -> npt.NDArray[np.float64]:
    """Return `nearest_identity` from the sets of 5-mers of both, see `kmer_sets`."""
    counts, columns = np.maximum(np.diff(mine.indptr), 1), theirs.T.tocsr()
    best = np.zeros(mine.shape[0])
    for start in range(0, len(best), _BLOCK):
        shared = mine[start : start + _BLOCK] @ columns
        best[start : start + _BLOCK] = shared.max(axis=1).toarray().ravel()
    return np.asarray((best / counts) ** (1 / K))


def identity_clusters(sequences: SequenceOf[str], threshold: float) -> npt.NDArray[np.int64]:
    """Return the cluster of each sequence, shape (n,): single linkage of pairs whose estimated identity is at least this.

    Estimated as in `nearest_identity`, over the shorter sequence of a pair, so that a fragment is in the cluster of its
    protein. No two sequences in different clusters are that similar.
    """
    from scipy.sparse import coo_matrix, csr_matrix, vstack
    from scipy.sparse.csgraph import connected_components

    words = kmer_sets(sequences)
    counts = np.maximum(np.diff(words.indptr), 1)
    # Only columns of 5-mers that occur: transposition takes time for each of 20^5, milliseconds for a family of any size.
    known, index = np.unique(words.indices, return_inverse=True)
    words = csr_matrix((words.data, index, words.indptr), shape=(len(sequences), len(known)))
    other = words.T.tocsr()
    blocks = []
    for start in range(0, len(sequences), _BLOCK):
        shared = (words[start : start + _BLOCK] @ other).tocoo()
        shorter = np.minimum(counts[start + shared.row], counts[shared.col])
        near = shared.data / shorter >= threshold**K
        size = (min(_BLOCK, len(sequences) - start), len(sequences))
        blocks.append(coo_matrix((np.ones(near.sum(), dtype=bool), (shared.row[near], shared.col[near])), shape=size))
    return np.asarray(connected_components(vstack(blocks), directed=False)[1], dtype=np.int64)
