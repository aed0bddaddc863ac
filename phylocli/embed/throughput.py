"""Speed and time left."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from phylocli.core import console
from phylocli.embed.inputs import Survey


class Meter:
    """Counts embedded sequences and reports progress.

    Args:
        survey: size of the input; None if it cannot be known.
        label: prefix of every line, for several processes that write to one terminal.
    """

    def __init__(self, survey: Survey | None = None, label: str = "") -> None:
        self.survey = survey
        self.sequences = 0
        self.residues = 0
        self._ahead = 0
        self._label = f"{label}: " if label else ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._left = self.survey.residues if self.survey else None  # residues to be computed
        self._bar = self._stack.enter_context(console.progress_task(f"{self._label}embedding", self._left, unit="residues"))
        self._start = time.monotonic()
        return self

    def computed(self, residues: int) -> None:
        """Count a batch within a block, to advance the bar before the block is done."""
        self._ahead += residues
        self._bar.advance(residues)

    def done(self, sequences: int, residues: int) -> None:
        """Count a completed block, including repeated sequences."""
        self.sequences += sequences
        self.residues += residues
        self._bar.advance(residues - self._ahead)
        self._ahead = 0

    def skipped(self, sequences: int, residues: int) -> None:
        """Count sequences that need no work because an earlier run or another process has embedded them."""
        self.sequences += sequences
        if self._left is not None:
            self._left -= residues
            self._bar.update(total=self._left)

    @property
    def rate(self) -> float:
        """Residues per second so far, without those skipped."""
        return self.residues / max(time.monotonic() - self._start, 1e-9)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.seconds = time.monotonic() - self._start
        return self._stack.__exit__(kind, error, trace)
