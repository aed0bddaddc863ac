"""Overlap of alignment rows: groups of rows that share enough columns, directly or through a chain of rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.alphabet import MISSING

_CELLS = 20_000_000  # maximum number of elements of temporary arrays


def least_overlap(wanted: int, columns: int) -> int:
    """Return the minimum number of shared columns: the requested number, but at most half of all columns."""
    return max(1, min(wanted, -(-columns // 2)))


def overlap_groups(states: npt.NDArray[np.uint8], least: int) -> npt.NDArray[np.int64]:
    """Return the group of each row, shape (n,), identified by the index of its first row.

    Groups are the connected components of the graph that links rows with at least `least` shared columns. Time is
    O(n · columns) if most rows overlap with the first.

    Args:
        states: alignment as returned by `alphabet.encode_states`, shape (n, columns).
        least: minimum number of columns in which both rows have a residue.
    """
    present = states != MISSING
    group = np.full(len(states), -1, dtype=np.int64)
    for first in range(len(states)):
        if group[first] >= 0:
            continue
        group[first] = first
        frontier, rest = np.array([first]), np.flatnonzero(group < 0)
        while len(frontier) and len(rest):
            reached = _reached(present, frontier, rest, least)
            frontier, rest = rest[reached], rest[~reached]
            group[frontier] = first
    return group


def _reached(
    present: npt.NDArray[np.bool_], frontier: npt.NDArray[np.int64], rest: npt.NDArray[np.int64], least: int
) -> npt.NDArray[np.bool_]:
    """Return which of the remaining rows share enough columns with a row of the frontier, shape (rest,)."""
    reached = np.zeros(len(rest), dtype=bool)
    size = max(1, min(_CELLS // max(present.shape[1], 1), int(_CELLS**0.5)))
    for start in range(0, len(frontier), size):
        known = present[frontier[start : start + size]].astype(np.float32)
        open_ = np.flatnonzero(~reached)
        for begin in range(0, len(open_), size):
            part = open_[begin : begin + size]
            reached[part] = (present[rest[part]].astype(np.float32) @ known.T >= least).any(axis=1)
    return reached
