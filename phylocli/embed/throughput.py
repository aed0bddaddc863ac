"""How fast it goes and how long it will take: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from phylocli.core import console
from phylocli.embed.inputs import Survey

logger = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds between two lines where no terminal shows a bar."""


def duration(seconds: float) -> str:
    """Return a time for people: `40 s`, `12 min`, `3 h 20 min`.

    >>> duration(12_000)
    '3 h 20 min'
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Meter:
    """Counts what has been embedded and reports it.

    Args:
        survey: how much there is; None where it cannot be known.
        label: before every line, where several processes write to one terminal.
    """

    def __init__(self, survey: Survey | None = None, label: str = "") -> None:
        self.survey = survey
        self.sequences = 0
        self.residues = 0
        self._skipped = 0
        self._ahead = 0
        self._label = f"{label}: " if label else ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        total = self.survey.residues if self.survey else None
        self._bar = self._stack.enter_context(console.progress_task(f"{self._label}embedding", total, unit="residues"))
        self._start = self._said = time.monotonic()
        return self

    def computed(self, residues: int) -> None:
        """Note a batch within a block: moves the bar on before the block is done."""
        self._ahead += residues
        self._bar.advance(residues)

    def done(self, sequences: int, residues: int) -> None:
        """Note a block that is done, batches and repeated sequences and all."""
        self.sequences += sequences
        self.residues += residues
        self._bar.advance(residues - self._ahead)
        self._ahead = 0
        self._bar.update(description=f"{self._label}embedding, {self.rate:,.0f} residues/s")
        if not console.progress_is_shown() and time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            logger.info(self.line())

    def skipped(self, sequences: int, residues: int) -> None:
        """Note sequences that need no work: embedded by an earlier run, or some other process's."""
        self.sequences += sequences
        self._skipped += residues
        self._bar.advance(residues)

    @property
    def rate(self) -> float:
        """Residues a second so far, without those skipped."""
        return self.residues / max(time.monotonic() - self._start, 1e-9)

    def line(self) -> str:
        """Return how far it is, how fast it goes and how long it will take."""
        parts = [f"{self._label}{self.sequences:,}"]
        if self.survey:
            parts.append(f" of {self.survey.sequences:,}")
        parts.append(f" sequences, {self.rate:,.0f} residues/s")
        if self.survey and self.rate > 0:
            left = self.survey.residues - self.residues - self._skipped
            parts.append(f", {duration(max(0, left) / self.rate)} left")
        return "".join(parts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.seconds = time.monotonic() - self._start
        return self._stack.__exit__(kind, error, trace)
