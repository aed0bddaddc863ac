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
_DENSE = 1 << 16
"""Number of cells up to which a matrix of 5-mers is dense: for small families, sparse matrices take most of the time."""


def kmer_sets(sequences: SequenceOf[str]) -> Any:
    """Return which 5-mers each sequence has as a sparse matrix of ones, shape (n, 20^5)."""
    from scipy.sparse import csr_matrix

    index, ends = _kmers(sequences)
    shape = (len(sequences), len(alphabet.AMINO_ACIDS) ** K)
    return csr_matrix((np.ones(len(index), dtype=np.float32), index, ends), shape=shape)


def _kmers(sequences: SequenceOf[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct 5-mers of each sequence, one sequence after another, and where each begins, shape (n + 1,)."""
    words, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    for start in range(0, len(sequences), _BLOCK):
        found, counts = _kmers_of_block(sequences[start : start + _BLOCK])
        words.append(found)
        ends.append(ends[-1][-1] + np.cumsum(counts))
    return np.concatenate(words), np.concatenate(ends)


def _kmers_of_block(sequences: SequenceOf[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the distinct 5-mers of each sequence, one sequence after another, and how many each has."""
    size = len(alphabet.AMINO_ACIDS)
    text = "-".join(sequences) + "-" * K  # no 5-mer has residues of two sequences
    states = alphabet.encode_states([text])[0].astype(np.int64)
    owners = np.repeat(np.arange(len(sequences)), [len(sequence) + 1 for sequence in sequences])
    words, valid = np.zeros(len(owners), dtype=np.int64), np.ones(len(owners), dtype=bool)
    for k in range(K):
        letters = states[k : k + len(owners)]
        words = size * words + letters
        valid &= letters < size
    distinct = np.unique(owners[valid] * size**K + words[valid])
    return distinct % size**K, np.bincount(distinct // size**K, minlength=len(sequences))


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

    words, ends = _kmers(sequences)
    n, lengths = len(sequences), np.diff(ends)
    counts = np.maximum(lengths, 1)
    # Only columns of 5-mers that occur: transposition takes time for each of 20^5, milliseconds for a family of any size.
    known, index = np.unique(words, return_inverse=True)
    if n * len(known) <= _DENSE:
        dense = np.zeros((n, len(known)), dtype=np.float32)
        dense[np.repeat(np.arange(n), lengths), index] = 1
        similar = dense @ dense.T / np.minimum.outer(counts, counts) >= threshold**K
        if similar.sum() == np.trace(similar):
            return np.arange(n)
        return np.asarray(connected_components(csr_matrix(similar), directed=False)[1], dtype=np.int64)
    rows = csr_matrix((np.ones(len(words), dtype=np.float32), index, ends), shape=(n, len(known)))
    other = rows.T.tocsr()
    blocks = []
    for start in range(0, n, _BLOCK):
        shared = (rows[start : start + _BLOCK] @ other).tocoo()
        shorter = np.minimum(counts[start + shared.row], counts[shared.col])
        near = shared.data / shorter >= threshold**K
        size = (min(_BLOCK, n - start), n)
        blocks.append(coo_matrix((np.ones(near.sum(), dtype=bool), (shared.row[near], shared.col[near])), shape=size))
    return np.asarray(connected_components(vstack(blocks), directed=False)[1], dtype=np.int64)
