"""A few threads that fetch, and that never keep the process from ending."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

_GRACE = 2.0  # seconds that a worker has to finish writing when the work is cancelled


class Workers(Generic[T]):
    """Runs a function over items in a few threads.

    Not `ThreadPoolExecutor`, whose threads the interpreter joins at exit: a thread waiting for a silent server would delay
    ^C until its read timeout.

    Args:
        function: called with each item.
        count: of threads.
    """

    def __init__(self, function: Callable[[T], None], count: int) -> None:
        self._function = function
        self._waiting: deque[tuple[T, Future[None]]] = deque()
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"fetch-{n}") for n in range(max(1, count))]

    def start(self, items: list[T]) -> list[Future[None]]:
        """Start on the items, in their order, and return one future for each."""
        futures: list[Future[None]] = [Future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        for thread in self._threads[: len(items)]:
            thread.start()
        return futures

    def stop(self) -> None:
        """Cancel tasks that have not started, and give running ones a moment to finish."""
        while self._waiting:
            try:
                _, future = self._waiting.pop()
            except IndexError:  # a worker was quicker
                break
            future.cancel()
        end = time.monotonic() + _GRACE
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while True:
            try:
                item, future = self._waiting.popleft()
            except IndexError:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                self._function(item)
            except BaseException as error:  # noqa: BLE001  it is raised where the future is asked
                future.set_exception(error)
            else:
                future.set_result(None)
