"""How near is what is scored to what was learned from: identity of the nearest training sequence, without alignment."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phylocli.core import alphabet
from phylocli.statistics.sampling import subsample

K = 5
TWINS = 0.9
"""Estimated identity from which a scored sequence counts as a near copy of a training sequence."""

RELATED = 0.5
BLOCK = 500
MAX_SHARED = 2_000_000_000
"""5-mers in common that are counted at most, some ten seconds; variants of one protein share nearly all of theirs."""

MIN_LOOKED_AT = 200


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

    Where a share c of a sequence's 5-mers occurs in another, their identity is about c^(1/5): all five residues of a 5-mer
    must be the same (the containment form of the Mash distance; Ondov et al. 2016, doi:10.1186/s13059-016-0997-x). The
    estimate is good for near copies, which is what it is for; below about 0.4 it says only "no near copy".
    """
    if not len(scored) or not len(training):
        return np.zeros(len(scored))
    return _nearest(_kmer_sets(scored), _kmer_sets(training))


def _nearest(mine: Any, theirs: Any) -> npt.NDArray[np.float64]:
    """Do what `nearest_identity` says, from the sets of 5-mers."""
    counts, columns = np.maximum(np.diff(mine.indptr), 1), theirs.T.tocsr()
    best = np.zeros(mine.shape[0])
    for start in range(0, len(best), BLOCK):
        shared = mine[start : start + BLOCK] @ columns
        best[start : start + BLOCK] = shared.max(axis=1).toarray().ravel()
    return np.asarray((best / counts) ** (1 / K))


def identity_clusters(sequences: SequenceOf[str], threshold: float) -> npt.NDArray[np.int64]:
    """Return the cluster of each sequence, shape (n,): single linkage of pairs whose estimated identity is at least this.

    Estimated as in `nearest_identity`, over the shorter sequence of a pair, so that a fragment joins its protein. No two
    sequences of different clusters are that alike.
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
class Leak:
    """How near the scored part is to the training part.

    Attributes:
        median: of the estimated identities with the nearest training sequence.
        related: share of scored sequences with an estimated identity of at least `RELATED`.
        twins: number of them with at least `TWINS`.
        scored, training: number of sequences.
        looked_at: scored sequences that this stands on, drawn at random where there are too many alike.
    """

    median: float
    related: float
    twins: int
    scored: int
    training: int
    looked_at: int


def find_leak(scored: SequenceOf[str], training: SequenceOf[str], seed: int = 0) -> Leak:
    """Return how near `scored` is to `training`, neither of them empty."""
    mine, theirs = _kmer_sets(scored), _kmer_sets(training)
    shared = float((mine @ np.asarray(theirs.sum(axis=0)).ravel()).sum())
    if shared > MAX_SHARED:
        affordable = max(MIN_LOOKED_AT, int(len(scored) * MAX_SHARED / shared))
        mine = mine[subsample(np.arange(len(scored)), affordable, seed)]
    identity = _nearest(mine, theirs)
    return Leak(
        float(np.median(identity)),
        float(np.mean(identity >= RELATED)),
        int(np.count_nonzero(identity >= TWINS)),
        len(scored),
        len(training),
        len(identity),
    )
