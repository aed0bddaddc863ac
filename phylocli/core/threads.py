"""Threads: how many there are, and how they wait for each other. One place for all commands.

Linear algebra on several threads meets at a barrier after every operation, thousands of times a second. By default a
thread that waits there keeps its core busy for milliseconds (libgomp: 3 ms, OpenBLAS: 25 ms). That gains some
microseconds where the machine has nothing else to do. Where it has, the thread that is waited for cannot get a core, and
everything takes several times as long (`benchmarks/threads.py`). So threads that wait give their core away nearly at
once, and libraries whose operations are short (NumPy's and SciPy's, in trees and probes) compute with one thread; torch,
whose operations are long, with all cores.

The number of threads does not depend on how busy the machine is: the order of a sum depends on it, and the same command
has to give the same result whatever runs beside it. Variables of the environment that are set already stay as they are.
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
    """Return how many cores this process may use: by its affinity (set by batch systems) and its container's CPU quota."""
    import joblib

    return int(joblib.cpu_count())


def threads_each(processes: int) -> int:
    """Return how many threads each of some processes may have, so that together they have a core each."""
    return max(1, available_cores() // processes)


def limit_threads(count: int = 0) -> None:
    """Let torch compute with so many threads from here on.

    Args:
        count: 0 takes a thread for each core that this process may use, or as many as the environment (`OMP_NUM_THREADS`) or
            the calling program allows, whichever is less.
    """
    import torch

    torch.set_num_threads(count or min(torch.get_num_threads(), available_cores()))
