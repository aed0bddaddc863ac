"""How fast it goes and how long it will take."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from phylocli.core import console
from phylocli.embed.inputs import Survey


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
        self._ahead = 0
        self._label = f"{label}: " if label else ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._left = self.survey.residues if self.survey else None  # to be computed
        self._bar = self._stack.enter_context(console.progress_task(f"{self._label}embedding", self._left, unit="residues"))
        self._start = time.monotonic()
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

    def skipped(self, sequences: int, residues: int) -> None:
        """Note sequences that need no work: embedded by an earlier run, or some other process's."""
        self.sequences += sequences
        if self._left is not None:
            self._left -= residues
            self._bar.update(total=self._left)

    @property
    def rate(self) -> float:
        """Residues a second so far, without those skipped."""
        return self.residues / max(time.monotonic() - self._start, 1e-9)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.seconds = time.monotonic() - self._start
        return self._stack.__exit__(kind, error, trace)
