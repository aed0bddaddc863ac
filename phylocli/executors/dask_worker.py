"""What runs in a Dask worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from phylocli.executors.work import TOPIC, Done, perform

_functions: dict[str, Callable[[Any], Any]] = {}
_busy: set[int] = set()  # threads of bundles, of which a worker of several commands may compute more than one at a time

Message = tuple[str, int, str]
"""Logger, level and text."""


def remember(name: str, function: Callable[[Any], Any]) -> None:
    """Keep the function of a work."""
    _functions[name] = function


def forget(name: str) -> None:
    """Drop it."""
    _functions.pop(name, None)


class _Recorder(logging.Handler):
    """Keeps messages of a bundle for the client: those of its thread, and of threads that it may have started."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._thread = threading.get_ident()
        self.messages: list[Message] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread or record.thread not in _busy:
            self.messages.append((record.name, record.levelno, record.getMessage()))


def perform_bundle(name: str, ticket: int, arguments: list[bytes]) -> tuple[Done, list[Message]]:
    """Compute a bundle; return its results, and the messages logged meanwhile.

    The scheduler knows of the start before it: if the worker dies, the client knows which of the bundles assigned to it was
    running.
    """
    from distributed import get_worker
    from distributed.utils import sync

    worker = get_worker()
    message = {"name": name, "started": ticket, "worker": worker.address}
    sync(worker.loop, worker.scheduler.log_event, topic=TOPIC, msg=message)
    package, recorder = logging.getLogger("phylocli"), _Recorder()
    _busy.add(threading.get_ident())
    package.addHandler(recorder)
    if package.level == logging.NOTSET:
        package.setLevel(logging.INFO)
    try:
        return perform(_functions[name], arguments), recorder.messages
    finally:
        package.removeHandler(recorder)
        _busy.discard(threading.get_ident())
