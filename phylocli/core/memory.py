"""Memory of long computations: freed blocks are kept for the next step, not given back to the system after each.

A training step allocates and frees the same large arrays again and again. The C library of Linux (glibc) gives large blocks
back to the system as soon as they are free, and the system clears each page before it lends it again, which took a tenth and
more of the time of a step on a CPU (`benchmarks/hybrid.py speed`). Keeping them changes no result.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_ADAPTED = 32 << 20
"""Where glibc's own adaptation of the threshold of mmap ends (DEFAULT_MMAP_THRESHOLD_MAX)."""


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory within the block for further allocations, and give it back at the end of the block.

    Nothing happens with other C libraries than glibc, and where the environment sets the allocator (`MALLOC_…`,
    `GLIBC_TUNABLES`).
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    if not libc.mallopt(_MMAP_THRESHOLD, 1 << 30):
        libc.mallopt(_MMAP_THRESHOLD, _ADAPTED)  # the largest value of older versions
    libc.mallopt(_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _ADAPTED)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _ADAPTED)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc with its usual settings."""
    if not sys.platform.startswith("linux") or any(x.startswith("MALLOC_") or x == "GLIBC_TUNABLES" for x in os.environ):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
