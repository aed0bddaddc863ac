"""Messages and progress on stderr, for the command line. Data never pass through here.

Library code logs (`logger = logging.getLogger(__name__)`); the program that uses it decides what is shown. The command line
shows messages by `show_messages`, according to `-q` and `-v`, with progress bars if stderr is a terminal, and otherwise one
line of progress per minute; with `--log-json`, messages and progress are JSON objects, one a line.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")

SILENT, QUIET, NORMAL, VERBOSE = logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG
"""Levels of messages: only errors, for one of several processes that do the same; also warnings; messages; details."""

EVERY = 60.0
"""Seconds between two lines of progress without a terminal."""

_package = logging.getLogger("phylocli")
logger = logging.getLogger(__name__)
_console: Console | None = None


class _OnStderr(logging.Handler):
    """Prints messages, with the level of warnings and errors, in colour on a terminal."""

    _STYLES = ((logging.ERROR, "error: ", "bold red"), (logging.WARNING, "warning: ", "yellow"), (logging.INFO, "", ""))

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        if self.as_json:
            about = {
                "time": _time(record.created),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": text,
                **({"traceback": trace} if trace else {}),
            }
            with contextlib.suppress(OSError):
                sys.stderr.write(json.dumps({**about, **getattr(record, "progress", {})}) + "\n")
                sys.stderr.flush()
            return
        from rich.text import Text

        start, style = next(((start, style) for level, start, style in self._STYLES if record.levelno >= level), ("", "dim"))
        with contextlib.suppress(OSError):  # a terminal that was closed
            stderr().print(Text(start + text, style=style))  # Text, not markup: ids may contain square brackets
            if trace:
                stderr().print(Text(trace), end="")


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")


def _handlers() -> list[_OnStderr]:
    return [handler for handler in _package.handlers if isinstance(handler, _OnStderr)]


def show_messages(level: int, *, as_json: bool = False) -> None:
    """Print the package's log messages on stderr from a given level on, in the command line and its workers.

    Args:
        level: one of the levels above.
        as_json: print an object a line, with `time`, `level`, `logger` and `message`, and `traceback` of an error if it is
            logged with one; those of progress also `event` (`progress` each minute; once `finished`, or `failed` if the task
            ended by an exception), `task`, `detail`, `unit`, `done`, `total`, `seconds`, `per_second`, `seconds_left`, and
            those of `Status`.
    """
    if not messages_are_shown():
        _package.addHandler(_OnStderr(as_json=as_json))
        _package.propagate = False
    for handler in _handlers():
        handler.as_json = as_json
    _package.setLevel(level)


def hide_messages() -> None:
    """Undo `show_messages`."""
    for handler in _handlers():
        _package.removeHandler(handler)
    _package.propagate = True
    _package.setLevel(logging.NOTSET)


def messages_are_shown() -> bool:
    """Return whether `show_messages` was called."""
    return bool(_handlers())


def messages_are_json() -> bool:
    """Return whether messages are printed as JSON."""
    return any(handler.as_json for handler in _handlers())


def level() -> int:
    """Return the level from which on messages are logged; `logging.NOTSET` where nothing was set."""
    return _package.level


@contextmanager
def at_level(level: int) -> Iterator[None]:
    """Log only messages from this level on, within the block."""
    before = _package.level
    _package.setLevel(level)
    try:
        yield
    finally:
        _package.setLevel(before)


def stderr() -> Console:
    """Return the rich console on stderr, which honours NO_COLOR and TERM=dumb."""
    global _console  # noqa: PLW0603
    if _console is None or _console.file is not sys.stderr:
        from rich.console import Console

        _console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    return _console


def progress_is_shown() -> bool:
    """Return whether progress bars are shown: by the command line, on a terminal that is not dumb, and without `-q`."""
    wanted = messages_are_shown() and _package.level <= NORMAL
    return wanted and not messages_are_json() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def duration(seconds: float) -> str:
    """Return a time for people: `40 s`, `12 min`, `3 h 20 min`.

    >>> duration(12_000)
    '3 h 20 min'
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def rate(amount: float, seconds: float, unit: str = "") -> str:
    """Return a rate for people: `35/s`, `1.5/s`, `2.0/min`, `1.5/h`; of bytes `3.5 MB/s`; nothing before there is one.

    >>> rate(30, 20), rate(30, 900), rate(3, 7200), rate(7e6, 2, "bytes")
    ('1.5/s', '2.0/min', '1.5/h', '3.5 MB/s')
    """
    if not amount or seconds <= 0:
        return ""
    found = amount / seconds
    if unit == "bytes":
        return f"{found / 1e6:,.1f} MB/s"
    if found >= 10:
        return f"{found:,.0f}/s"
    for seconds_each, name in ((1, "s"), (60, "min"), (3600, "h")):
        if found * seconds_each >= 1:
            return f"{found * seconds_each:.1f}/{name}"
    return f"{found * 3600:.1g}/h"


@dataclass(frozen=True)
class Status:
    """What a display of many pieces says besides their number.

    Attributes:
        failed: number of pieces that failed.
        workers: number of processes or workers of a cluster; 0 is this process.
        dashboard: address of a page about the workers.
    """

    failed: int = 0
    workers: int = 0
    dashboard: str = ""

    def __str__(self) -> str:
        workers = f"{self.workers:,} worker{'s' if self.workers > 1 else ''}" if self.workers else ""
        return ", ".join(
            part for part in (f"{self.failed:,} failed" if self.failed else "", workers, self.dashboard) if part
        )


class ProgressTask(Protocol):
    """One piece of work whose progress is shown."""

    def advance(self, amount: float = 1) -> None:
        """Move on by `amount` units."""

    def update(
        self, *, total: float | None = None, detail: str | None = None, status: Callable[[], Status] | None = None
    ) -> None:
        """Change the displayed values: `detail` follows the description; `status` is asked at each display."""


class _SilentTask:
    def advance(self, amount: float = 1) -> None: ...

    def update(
        self, *, total: float | None = None, detail: str | None = None, status: Callable[[], Status] | None = None
    ) -> None: ...


def _named(description: str, detail: str | None) -> str:
    return f"{description}, {detail}" if detail else description


class _LoggedTask:
    """Progress as words, for a log."""

    def __init__(self, description: str, total: float | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._detail = ""
        self._done = 0.0
        self._status: Callable[[], Status] = Status
        self._start = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        self._done += amount

    def update(
        self, *, total: float | None = None, detail: str | None = None, status: Callable[[], Status] | None = None
    ) -> None:
        self._total = self._total if total is None else total
        self._detail = detail or self._detail
        self._status = status or self._status

    def __str__(self) -> str:
        status = str(self._status())
        return f"{self._so_far()}; {status}" if status else self._so_far()

    def facts(self, event: str) -> dict[str, object]:
        """Return the progress as JSON values."""
        seconds = time.monotonic() - self._start
        each = seconds / self._done if self._done else None
        left = None if each is None or self._total is None else max(0.0, self._total - self._done) * each
        return {
            "event": event,
            "task": self._description,
            "detail": self._detail,
            "unit": self._unit,
            "done": round(self._done),
            "total": None if self._total is None else round(self._total),
            "seconds": round(seconds, 3),
            "per_second": None if not each else float(f"{1 / each:.4g}"),
            "seconds_left": None if left is None else round(left, 1),
            **asdict(self._status()),
        }

    def _so_far(self) -> str:
        seconds = time.monotonic() - self._start
        name = _named(self._description, self._detail)
        if not self._done:
            return f"{name}: {duration(seconds)} so far"
        many = [self._done] if self._total is None else [self._done, self._total]
        if self._unit == "bytes":
            amount = " of ".join(f"{size / 1e6:,.1f}" for size in many) + " MB"
        else:
            amount = f"{' of '.join(f'{n:,.0f}' for n in many)} {self._unit}".rstrip()
        speed = rate(self._done, seconds, self._unit)
        if self._total is None:
            return f"{name}: {amount} in {duration(seconds)}, {speed}"
        left = max(0.0, self._total - self._done) * seconds / self._done
        return f"{name}: {amount}, {speed}, {duration(left)} left"


class _Reporter:
    """Logs one line a minute about all that runs: from a thread, so that it also reports a step that takes long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: list[_LoggedTask] = []
        self._ended = threading.Event()
        self._due = 0.0

    def add(self, task: _LoggedTask) -> None:
        """Report a task until it is removed."""
        with self._lock:
            self._tasks.append(task)
            if len(self._tasks) > 1:
                return
            now = time.monotonic()
            # Many short tasks are one long command: the minute continues between them.
            self._due = now + EVERY if not self._due or now > self._due + EVERY else max(self._due, now + EVERY / 60)
            self._ended = threading.Event()
            threading.Thread(target=self._run, args=(self._ended,), daemon=True, name="progress").start()

    def remove(self, task: _LoggedTask, event: str) -> None:
        """Report a task no more; machines get its final state and the event: `finished` or `failed`."""
        if messages_are_json():
            logger.info(str(task), extra={"progress": task.facts(event)})
        with self._lock:
            self._tasks.remove(task)
            if not self._tasks:
                self._ended.set()

    def _run(self, ended: threading.Event) -> None:
        while not ended.wait(max(0.0, self._due - time.monotonic())):
            with self._lock:
                tasks = list(self._tasks)
            self._due = time.monotonic() + EVERY
            if messages_are_json():
                for task in tasks:
                    logger.info(str(task), extra={"progress": task.facts("progress")})
            elif tasks:
                logger.info("; ".join(map(str, tasks)))


_reporter = _Reporter()


class _Display:
    """The progress bars: one display below the messages, for any number of bars in any threads."""

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
            return self._bars, self._bars.add_task(description, total=total, unit=unit, status=Status)

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
        """How far it is, in the task's own unit, and the rate."""

        def __init__(self) -> None:
            super().__init__()
            self._size, self._rate, self._count = DownloadColumn(), TransferSpeedColumn(), MofNCompleteColumn()

        def render(self, task: Task) -> Text:
            unit = task.fields["unit"]
            if unit == "bytes":
                return Text.assemble(self._size.render(task), " ", self._rate.render(task))
            speed = f", {rate(task.speed, 1)}" if task.speed else ""
            return Text.assemble(self._count.render(task), " ", unit, speed)

    class Status(ProgressColumn):
        """Failures, workers, and the link to a dashboard."""

        def render(self, task: Task) -> Text:
            return Text(str(task.fields["status"]()), style="dim")

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Amount(),
        TimeRemainingColumn(),
        Status(),
    )
    return Progress(*columns, console=stderr(), transient=True)


@contextmanager
def progress_task(description: str, total: float | None = None, unit: str = "") -> Iterator[ProgressTask]:
    """Show the progress of the block: a bar on a terminal, else a line per minute; nothing if no messages are shown.

    Blocks may be nested and may run in several threads: each has its own bar. The unit `bytes` is shown in kB, MB and GB,
    with the rate.
    """
    if not messages_are_shown() or _package.level > NORMAL:
        yield _SilentTask()
        return
    if not progress_is_shown():
        logged = _LoggedTask(description, total, unit)
        _reporter.add(logged)
        event = "failed"
        try:
            yield logged
            event = "finished"
        except GeneratorExit:  # the consumer of a generator has had enough
            event = "finished"
            raise
        finally:
            _reporter.remove(logged, event)
        return
    bars, number = _display.add(description, total, unit)

    class Task:
        def advance(self, amount: float = 1) -> None:
            bars.advance(number, amount)

        def update(
            self, *, total: float | None = None, detail: str | None = None, status: Callable[[], Status] | None = None
        ) -> None:
            bars.update(number, total=total, description=_named(description, detail) if detail else None)
            if status is not None:
                bars.update(number, status=status)

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
