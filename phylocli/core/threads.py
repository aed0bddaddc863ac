"""Number of threads and how they wait, defined once for all commands.

Multithreaded linear algebra synchronises after every operation, thousands of times per second. By default a waiting thread
keeps its core busy for milliseconds (libgomp: 3 ms, OpenBLAS: 25 ms), which saves a few microseconds on an idle machine. On
a busy machine the awaited thread then cannot get a core, and everything takes several times as long
(`benchmarks/threads.py`). Therefore waiting threads release their core almost immediately, and libraries with short
operations (NumPy and SciPy, in trees and probes) use one thread; torch, with long operations, uses all cores.

The number of threads does not depend on the load of the machine: it affects the order of sums, and the same command must
give the same result. Existing environment variables are not changed.
"""

from __future__ import annotations

import os

WAITING = {
    "OMP_WAIT_POLICY": "passive",  # any OpenMP: sleep at barriers
    "GOMP_SPINCOUNT": "1000",  # libgomp: but not before 10 µs, which covers the time between two operations
    "OPENBLAS_NUM_THREADS": "1",  # its main thread never sleeps while it waits for others
}
"""Variables of the environment that libraries read when they are loaded."""


def set_environment() -> None:
    """Set the variables of `WAITING` that are not set; before NumPy and torch are imported, or they have no effect."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)


def available_cores() -> int:
    """Return the number of cores for this process, from its affinity (set by batch systems) and its container's CPU
    quota."""
    import joblib

    return int(joblib.cpu_count())


def threads_each(processes: int) -> int:
    """Return the number of threads for each of several processes, so that together they use each core once."""
    return max(1, available_cores() // processes)


def limit_threads(count: int = 0) -> None:
    """Let torch compute with so many threads from here on.

    Args:
        count: 0 takes a thread for each core that this process may use, or as many as the environment (`OMP_NUM_THREADS`) or
            the calling program allows, whichever is less.
    """
    import torch

    torch.set_num_threads(count or min(torch.get_num_threads(), available_cores()))
