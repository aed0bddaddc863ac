"""Wavelet matrix: counting and selecting by value within any range of positions, in O(log n), vectorised over queries.

Claude, Navarro & Ordóñez, "The wavelet matrix: an efficient wavelet tree for large alphabets", Information Systems 47, 2015.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class WaveletMatrix:
    """Rank structure over a permutation of 0 … n − 1.

    Args:
        values: shape (n,), each of 0 … n − 1 once.

    Level by level, from the highest bit, the values are stably partitioned into those with a 0 and those with a 1 at that
    bit; a range of positions remains one range in either part. Memory: n·(⌊log₂ n⌋ + 1) numbers of four bytes.
    """

    def __init__(self, values: npt.ArrayLike) -> None:
        current = np.asarray(values, dtype=np.int32)
        self.n = len(current)
        # n itself must fit, so that "below n" is an ordinary query.
        self.levels = max(1, self.n.bit_length())
        self._zeros_before: list[npt.NDArray[np.int32]] = []  # per level: zeros among the first p positions, shape (n + 1,)
        for level in range(self.levels):
            ones = (current >> (self.levels - 1 - level)) & 1 == 1
            before = np.zeros(self.n + 1, dtype=np.int32)
            np.cumsum(~ones, out=before[1:])
            self._zeros_before.append(before)
            current = np.concatenate([current[~ones], current[ones]])

    def count_below(self, left: Ints, right: Ints, bound: Ints) -> Ints:
        """Return the number of values in each range of positions that are below a bound.

        Args:
            left, right: ranges [left, right), shape (q,).
            bound: shape (q,), from 0 to n.
        """
        left, right = left.astype(np.int32), right.astype(np.int32)
        bound = bound.astype(np.int32)
        total = np.zeros(len(left), dtype=np.int32)
        for level, before in enumerate(self._zeros_before):
            left_zeros, right_zeros = before[left], before[right]
            one = (bound >> (self.levels - 1 - level)) & 1 == 1
            # If the bound has a 1, all zeros of the range are below it, and the search continues among the ones.
            total += np.where(one, right_zeros - left_zeros, 0)
            zeros = before[-1]
            left = np.where(one, left - left_zeros + zeros, left_zeros)
            right = np.where(one, right - right_zeros + zeros, right_zeros)
        return total.astype(np.int64)

    def tally_below(self, left: Ints, right: Ints, bound: Ints) -> Ints:
        """Return for each position the number of queries of `count_below` that count its value, shape (n,)."""
        left, right, bound = left.astype(np.int32), right.astype(np.int32), bound.astype(np.int32)
        # Each query counts a few ranges, at most one per level: marked by their start and end, and carried down level by
        # level.
        tally, position = np.zeros(self.n, dtype=np.int64), np.arange(self.n)
        for level, before in enumerate(self._zeros_before):
            zero = before[1:] > before[:-1]
            tally = np.concatenate([tally[zero], tally[~zero]])
            position = np.concatenate([position[zero], position[~zero]])
            left_zeros, right_zeros = before[left], before[right]
            one = (bound >> (self.levels - 1 - level)) & 1 == 1
            marks = np.bincount(left_zeros[one], minlength=self.n + 1) - np.bincount(right_zeros[one], minlength=self.n + 1)
            tally += np.cumsum(marks[:-1])
            zeros = before[-1]
            left = np.where(one, left - left_zeros + zeros, left_zeros)
            right = np.where(one, right - right_zeros + zeros, right_zeros)
        result = np.empty(self.n, dtype=np.int64)
        result[position] = tally
        return result

    def select(self, left: Ints, right: Ints, k: Ints) -> Ints:
        """Return the k-th smallest value (k from 0) in each range of positions [left, right), shape (q,)."""
        left, right, k = left.astype(np.int32), right.astype(np.int32), k.astype(np.int32)
        value = np.zeros(len(left), dtype=np.int64)
        for level, before in enumerate(self._zeros_before):
            left_zeros, right_zeros = before[left], before[right]
            in_range = right_zeros - left_zeros
            one = k >= in_range
            k = np.where(one, k - in_range, k)
            zeros = before[-1]
            left = np.where(one, left - left_zeros + zeros, left_zeros)
            right = np.where(one, right - right_zeros + zeros, right_zeros)
            value += np.where(one, 1 << (self.levels - 1 - level), 0)
        return value
