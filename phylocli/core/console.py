"""Talk on stderr: messages, warnings and progress bars. Data never pass through here.

Library code says things through these functions; the command line decides how much of it is heard (`-q`, `-v`). Progress
bars appear only where stderr is a terminal, so logs and pipes stay clean.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")

SILENT, QUIET, NORMAL, VERBOSE = -2, -1, 0, 1
_verbosity = NORMAL
_console: Console | None = None


def set_verbosity(level: int) -> None:
    """Set how much is said: `QUIET` leaves only errors and warnings, `VERBOSE` adds details and tracebacks.

    `SILENT` leaves only errors: for one of several processes that do the same.
    """
    global _verbosity  # noqa: PLW0603  one process, one stderr
    _verbosity = level


def verbosity() -> int:
    """Return the level set by `set_verbosity`."""
    return _verbosity


def stderr() -> Console:
    """Return the rich console on stderr; it honours NO_COLOR and TERM=dumb by itself."""
    global _console  # noqa: PLW0603
    if _console is None or _console.file is not sys.stderr:
        from rich.console import Console

        _console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    return _console


def _say(text: str, style: str | None = None) -> None:
    from rich.text import Text

    with contextlib.suppress(OSError):  # a terminal that was closed
        stderr().print(Text(text, style=style or ""))  # Text, not markup: ids may hold square brackets


def info(text: str) -> None:
    """Say what is being done. Silent under `-q`."""
    if _verbosity >= NORMAL:
        _say(text)


def detail(text: str) -> None:
    """Say something that only `-v` asks for."""
    if _verbosity >= VERBOSE:
        _say(text, "dim")


def warning(text: str) -> None:
    """Say that a result may not be what the user expects. Heard even under `-q`."""
    if _verbosity >= QUIET:
        _say(f"warning: {text}", "yellow")


def error(text: str) -> None:
    """Say why the command failed."""
    _say(f"error: {text}", "bold red")


def progress_is_shown() -> bool:
    """Return whether progress bars are drawn: a terminal on stderr, not quiet, and not a dumb terminal."""
    return _verbosity >= NORMAL and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class ProgressTask(Protocol):
    """One progress bar."""

    def advance(self, amount: float = 1) -> None:
        """Move on by `amount` units."""

    def update(self, *, total: float | None = None, description: str | None = None) -> None:
        """Change what the bar says."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None: ...

    def update(self, *, total: float | None = None, description: str | None = None) -> None: ...


class _Display:
    """The progress bars that there are: one display under the text, however many bars run at once, in whatever threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._running = 0

    def add(self, description: str, total: float | None, unit: str) -> tuple[Progress, TaskID]:
        """Show one more bar."""
        with self._lock:
            if self._bars is None:
                self._bars = _bars()
                self._bars.start()
            self._running += 1
            return self._bars, self._bars.add_task(description, total=total, unit=unit)

    def remove(self, task: TaskID) -> None:
        """Take a bar away, and the display with the last one."""
        with self._lock:
            if self._bars is None:
                return
            self._running -= 1
            self._bars.refresh()  # so that its last state has been seen, however short it was
            if self._running:
                self._bars.remove_task(task)
            else:
                self._bars.stop()
                self._bars = None


_display = _Display()


def _bars() -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class Amount(ProgressColumn):
        """How far it is, in the task's own unit; bytes with their rate."""

        def __init__(self) -> None:
            super().__init__()
            self._size, self._rate, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

        def render(self, task: Task) -> Text:
            unit = task.fields["unit"]
            if unit == "bytes":
                return Text.assemble(self._size.render(task), " ", self._rate.render(task))
            return Text.assemble(self._count.render(task), " ", unit)

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), Amount(), TimeRemainingColumn())
    return Progress(*columns, console=stderr(), transient=True)


@contextmanager
def progress_task(description: str, total: float | None = None, unit: str = "") -> Iterator[ProgressTask]:
    """Show one progress bar for the length of the block; does nothing where no terminal would show it.

    Blocks may be nested and may run in several threads: each has its own bar. The unit `bytes` is shown in kB, MB and GB,
    with the rate.
    """
    if not progress_is_shown():
        yield _SilentTask()
        return
    bars, number = _display.add(description, total, unit)

    class Task:
        def advance(self, amount: float = 1) -> None:
            bars.advance(number, amount)

        def update(self, *, total: float | None = None, description: str | None = None) -> None:
            bars.update(number, total=total, description=description)

    try:
        yield Task()
    finally:
        _display.remove(number)


def progress(items: Iterable[T], description: str, total: float | None = None, unit: str = "") -> Iterator[T]:
    """Yield `items`, moving a progress bar on by one after each."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with progress_task(description, total, unit) as task:
        for item in items:
            yield item
            task.advance()
