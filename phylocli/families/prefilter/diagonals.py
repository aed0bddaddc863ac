"""Ungapped comparison of pairs of sequences along one diagonal, vectorised over pairs with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from Bio.Align import substitution_matrices

_RESIDUES_AT_ONCE = 500_000
_MATRIX = substitution_matrices.load("BLOSUM62")
_SCORES = np.array(_MATRIX, dtype=np.int8)
_ORDER = np.full(256, _MATRIX.alphabet.index("X"), dtype=np.uint8)
_ORDER[[ord(letter) for letter in _MATRIX.alphabet]] = np.arange(len(_MATRIX.alphabet))

Indices = npt.NDArray[np.int64]


def blosum_order(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Convert ASCII letters to indices of BLOSUM62; letters that are not in the matrix become `X`."""
    return _ORDER[text]


def _along(
    letters: npt.NDArray[np.uint8], offsets: Indices, query: Indices, target: Indices, diagonal: Indices
) -> Iterator[tuple[slice, Indices, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
    """Yield batches of pairs: their indices, the lengths of their diagonals, and both sequences' letters along these."""
    from_query = np.maximum(diagonal, 0)
    from_target = from_query - diagonal
    lengths = np.diff(offsets)
    size = np.maximum(np.minimum(lengths[query] - from_query, lengths[target] - from_target), 0)
    ends = np.cumsum(size)
    low = 0
    while low < len(query):
        before = ends[low - 1] if low else 0
        high = max(int(np.searchsorted(ends, before + _RESIDUES_AT_ONCE, side="right")), low + 1)
        part = slice(low, high)
        length = size[part]
        within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        a = letters[np.repeat(offsets[query[part]] + from_query[part], length) + within]
        b = letters[np.repeat(offsets[target[part]] + from_target[part], length) + within]
        yield part, length, a, b
        low = high


def ungapped_scores(
    letters: npt.NDArray[np.uint8], offsets: Indices, query: Indices, target: Indices, diagonal: Indices
) -> npt.NDArray[np.int64]:
    """Return the score of the best ungapped local alignment of each pair of sequences on one diagonal.

    Args:
        letters: all sequences concatenated, as returned by `blosum_order`.
        offsets: start of each sequence, and end of the last, shape (n + 1,).
        query: index of the first sequence of each pair, shape (pairs,).
        target: index of the second sequence of each pair, shape (pairs,).
        diagonal: position in the query minus position in the target, shape (pairs,).

    Returns:
        Scores in half bits, shape (pairs,), at least 0.
    """
    scores = np.zeros(len(query), dtype=np.int64)
    for part, length, a, b in _along(letters, offsets, query, target, diagonal):
        # Kadane's algorithm, vectorised over pairs: cumulative sum minus its running minimum. Subtracting more than any sum
        # at the start of each pair restarts the running minimum there.
        total = np.cumsum(_SCORES[a, b], dtype=np.int64)
        drop = np.repeat(np.arange(len(length)), length) * (16 * (len(total) + 1))
        ahead = np.concatenate(([0], total[:-1])) - drop
        gain = total - drop - np.minimum.accumulate(ahead)
        filled = length > 0
        if filled.any():
            starts = (np.cumsum(length) - length)[filled]
            scores[part][filled] = np.maximum(np.maximum.reduceat(gain, starts), 0)
    return scores


def identities(
    letters: npt.NDArray[np.uint8], offsets: Indices, query: Indices, target: Indices, diagonal: Indices
) -> npt.NDArray[np.int64]:
    """Return the number of identical residues of each pair of sequences on one diagonal, shape (pairs,).

    For the arguments see `ungapped_scores`; `letters` may use any encoding.
    """
    found = np.zeros(len(query), dtype=np.int64)
    for part, length, a, b in _along(letters, offsets, query, target, diagonal):
        same = np.concatenate(([0], np.cumsum(a == b)))
        ends = np.cumsum(length)
        found[part] = same[ends] - same[ends - length]
    return found
