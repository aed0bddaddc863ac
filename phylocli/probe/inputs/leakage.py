"""Leakage: sequence identity between scored and training sequences, estimated from shared 5-mers."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import numpy as np

from phylocli.statistics.sampling import subsample
from phylocli.statistics.shared_kmers import NEAR_DUPLICATE, kmer_sets, nearest

RELATED = 0.5
MAX_SHARED = 2_000_000_000
"""Maximum number of shared 5-mers to count (about ten seconds). Variants of the same protein share nearly all of theirs."""

MIN_COMPARED = 200


@dataclass
class Leakage:
    """Similarity of the scored sequences to the training sequences.

    Attributes:
        median: median estimated identity of scored sequences to their nearest training sequence.
        related: fraction of scored sequences with an estimated identity of at least `RELATED`.
        near_duplicates: number of scored sequences with an estimated identity of at least `NEAR_DUPLICATE`.
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
    """Return the leakage between two non-empty sets of sequences."""
    mine, theirs = kmer_sets(scored), kmer_sets(training)
    shared = float((mine @ np.asarray(theirs.sum(axis=0)).ravel()).sum())
    if shared > MAX_SHARED:
        affordable = max(MIN_COMPARED, int(len(scored) * MAX_SHARED / shared))
        mine = mine[subsample(np.arange(len(scored)), affordable, seed)]
    identity = nearest(mine, theirs)
    return Leakage(
        float(np.median(identity)),
        float(np.mean(identity >= RELATED)),
        int(np.count_nonzero(identity >= NEAR_DUPLICATE)),
        len(scored),
        len(training),
        len(identity),
    )
