"""The table at the end of many pieces: how many were done, were there already, and failed; time and rate."""

from __future__ import annotations

import logging

from phylocli.core import console

logger = logging.getLogger(__name__)

MANY = 100
"""Number of pieces from which on there is a table, also if they ran in this process."""


def summarise(
    title: str, *, done: int, failed: int = 0, known: int = 0, kept: str = "already there", seconds: float, divided: bool
) -> None:
    """Print what has become of pieces as a table of one row, if they were many or divided among workers.

    Args:
        title: what they are.
        done: number of those computed.
        failed: number of those that failed.
        known: number of those that did not have to be computed.
        kept: heading of that column, which is there if any were.
        seconds: of wall time.
        divided: whether workers were asked for.
    """
    if not divided and done + failed + known < MANY:
        return
    row = {"stage": title, "done": f"{done:,}"}
    if known:
        row[kept] = f"{known:,}"
    row |= {
        "failed": f"{failed:,}",
        "time": console.duration(seconds),
        "rate": console.rate(done + failed, seconds) or "-",
    }
    widths = [max(len(name), len(value)) for name, value in row.items()]
    for words in (row.keys(), row.values()):
        logger.info("  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)).rstrip())
