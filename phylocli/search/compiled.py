"""The recursion of `alignment` compiled by Numba (the extra `fast`): the same results in a fraction of the time.

Targets are aligned in lanes of a vector register: each step of the recursion computes one cell for all of them.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

LANES = 16
"""Number of targets that are aligned together: those of a 512-bit register, or of several smaller ones."""


@functools.cache
def kernel() -> Callable[..., Any] | None:
    """Return the compiled recursion; None without Numba, or with one that cannot be used.

    Its arguments are score matrices (L, B, M), gap opening and extension, an array for traceback codes as of `alignment`,
    and whether codes are written to it. It returns the best score of each target, (B,), and with codes its cell, (B, 2).
    """
    if importlib.util.find_spec("numba") is None:
        return None
    try:
        import numba
    except (ImportError, OSError) as error:  # it may need another NumPy, or lack a library
        logger.debug(f"alignments are not compiled: Numba cannot be used: {error}")
        return None
    try:
        found: Callable[..., Any] = numba.njit(nogil=True, cache=True)(_fill)
        _try(found)
    except (RuntimeError, OSError) as error:  # there is no folder for compiled code that is writable
        logger.debug(f"compiled alignments are not kept: {error}")
        found = numba.njit(nogil=True)(_fill)
    return found


def _try(function: Callable[..., Any]) -> None:
    one = np.float32(1)
    function(np.zeros((1, 1, 1), dtype=np.float32), one, one, np.zeros((1, 1, 1), dtype=np.uint8), False)


# Every operation is one of `alignment._fill` on the same float32 values, so the results have the same bits.
def _fill(scores, opening, extension, moves, traced):  # type: ignore[no-untyped-def]  # Numba infers the types
    rows, batch, columns = scores.shape
    best, ends = np.zeros(batch, dtype=np.float32), np.full((batch, 2), -1, dtype=np.int64)
    last, down = np.empty((columns + 1, LANES), np.float32), np.empty((columns + 1, LANES), np.float32)
    row = np.zeros((columns, LANES), np.float32)
    diagonal, left = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    along, top = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    zero = np.float32(0)
    for start in range(0, batch, LANES):
        width = min(LANES, batch - start)
        last[:], down[:], top[:], row[:] = zero, zero, zero, zero
        for i in range(rows):
            for k in range(width):
                for j in range(columns):
                    row[j, k] = scores[i, start + k, j]
            diagonal[:], left[:], along[:] = zero, zero, zero
            for j in range(columns):
                if traced:
                    for k in range(width):
                        along_longer = along[k] - extension > left[k] - opening
                        down_longer = down[j + 1, k] - extension > last[j + 1, k] - opening
                        horizontal = along[k] - extension if along_longer else left[k] - opening
                        vertical = down[j + 1, k] - extension if down_longer else last[j + 1, k] - opening
                        paired = diagonal[k] + row[j, k]
                        code = 0  # no alignment ends here
                        if paired >= horizontal and paired >= vertical:
                            value, source = paired, 1
                        elif horizontal >= vertical:
                            value, source = horizontal, 2
                        else:
                            value, source = vertical, 3
                        if value > zero:
                            code = source
                            # Of equal scores, the one on the first anti-diagonal, and there in the first row.
                            if value > top[k] or (value == top[k] and i + j < ends[start + k].sum()):
                                top[k] = value
                                ends[start + k, 0], ends[start + k, 1] = i, j
                        moves[i + j, i, start + k] = code + 4 * along_longer + 8 * down_longer
                for k in range(LANES):
                    above = last[j + 1, k]
                    a, b = down[j + 1, k] - extension, above - opening
                    vertical = a if a > b else b
                    a, b = along[k] - extension, left[k] - opening
                    horizontal = a if a > b else b
                    value = diagonal[k] + row[j, k]
                    value = value if value > vertical else vertical
                    value = value if value > horizontal else horizontal
                    value = value if value > zero else zero
                    diagonal[k] = above
                    down[j + 1, k] = vertical
                    along[k] = horizontal
                    last[j + 1, k] = value
                    left[k] = value
                    if not traced:
                        top[k] = value if value > top[k] else top[k]
        best[start : start + width] = top[:width]
    return best, ends
