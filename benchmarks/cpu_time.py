"""CPU time, for other scripts."""

from __future__ import annotations

import resource


def cpu_seconds_with_children() -> float:
    """Return the CPU seconds of this process and of those that it has started and that have ended."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)
