"""Search programs as baselines: the similarity of two sequences is the bit score of their best local alignment.

Pairs that a program does not report have a score of −inf and rank below all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf

import numpy as np
import numpy.typing as npt

from phylocli.probe.inputs.embedding import Embedding

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Hits = tuple[IntArray, FloatArray]
"""Indices of the targets hit by a query, and their bit scores."""

MAX_EVALUE = 1000.0
"""Maximum E-value of ranked hits. High, because rankings of published benchmarks include insignificant hits."""

Search = Callable[[list[str], list[str]], Iterable[Hits]]
"""Given query and target sequences, yields the hits of each query, in order."""


def search_embedding(name: str, ids: SequenceOf[str], sequences: SequenceOf[str], search: Search, source: str) -> Embedding:
    """Return a baseline that has scores of hits instead of vectors."""
    vectors = np.zeros((len(ids), 0), dtype=np.float32)
    source = f"{source}, bit score of hits with an E-value up to {MAX_EVALUE:g}"
    return Embedding(name, list(ids), vectors, source, baseline=True, search=HitSimilarity(search, sequences))


class HitSimilarity:
    """Similarity of rows of a dataset by bit score. The hits of each query are cached.

    Args:
        search: given query and target sequences, yields target indices and bit scores for each query, in order.
        sequences: sequence of each row.
    """

    def __init__(self, search: Search, sequences: SequenceOf[str]) -> None:
        self._search = search
        self._sequences = list(sequences)
        self._targets: IntArray = np.zeros(0, dtype=np.int64)
        self._hits: dict[int, Hits] = {}

    def __call__(self, queries: IntArray, targets: IntArray) -> FloatArray:
        """Return the scores of query rows against target rows, shape (queries, targets)."""
        if not np.array_equal(targets, self._targets):
            self._targets, self._hits = targets.copy(), {}
        missing = [int(q) for q in queries if int(q) not in self._hits]
        if missing:
            letters = [self._sequences[t] for t in targets]
            found = self._search([self._sequences[q] for q in missing], letters)
            self._hits.update(zip(missing, found, strict=True))
        scores = np.full((len(queries), len(targets)), -np.inf, dtype=np.float32)
        for row, query in enumerate(queries):
            index, bits = self._hits[int(query)]
            np.maximum.at(scores[row], index, bits)  # the best of several hits to the same target
        return scores
