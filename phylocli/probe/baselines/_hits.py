"""Baselines that search: the bit score of the best local alignment of two sequences.

A pair that is not reported has no score (−inf), which ranks below everything and ties with nothing but other such pairs.
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
"""Rows of the targets that one query hit, and their bit scores."""

MAX_EVALUE = 1000.0
"""Maximum E-value of ranked hits, as in the benchmarks that the report is compared with; this needs a sensitive search."""

Search = Callable[[list[str], list[str]], Iterable[Hits]]
"""Given the letters of queries and targets, yields the hits of each query, in order."""


def search_embedding(name: str, ids: SequenceOf[str], sequences: SequenceOf[str], search: Search, source: str) -> Embedding:
    """Return a baseline that has scores of hits in place of vectors."""
    vectors = np.zeros((len(ids), 0), dtype=np.float32)
    source = f"{source}, bit score of hits with an E-value up to {MAX_EVALUE:g}"
    return Embedding(name, list(ids), vectors, source, baseline=True, search=HitSimilarity(search, sequences))


class HitSimilarity:
    """Similarity of rows of a dataset by their bit scores; every query is searched once, and its hits are kept.

    Args:
        search: given the letters of queries and targets, yields one (target indices, bit scores) per query, in order.
        sequences: the letters of every row.
    """

    def __init__(self, search: Search, sequences: SequenceOf[str]) -> None:
        self._search = search
        self._sequences = list(sequences)
        self._targets: IntArray = np.zeros(0, dtype=np.int64)
        self._hits: dict[int, Hits] = {}

    def __call__(self, queries: IntArray, targets: IntArray) -> FloatArray:
        """Return scores of rows against rows, shape (queries, targets)."""
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
            np.maximum.at(scores[row], index, bits)  # a target that is hit twice counts with its better hit
        return scores
