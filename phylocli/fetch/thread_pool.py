"""A pool of daemon threads for downloads, which does not block the exit of the process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")

_GRACE = 2.0  # seconds that running tasks have to finish after `stop`


class Workers(Generic[T]):
    """Applies a function to items in several threads.

    `ThreadPoolExecutor` is not used because the interpreter joins its threads at exit: a thread waiting for a server would
    delay ^C until the read timeout.

    Args:
        function: called with each item.
        count: number of threads.
    """

    def __init__(self, function: Callable[[T], None], count: int) -> None:
        self._function = function
        self._waiting: deque[tuple[T, Future[None]]] = deque()
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"fetch-{n}") for n in range(max(1, count))]

    def start(self, items: list[T]) -> list[Future[None]]:
        """Process the items in order; return one future per item."""
        futures: list[Future[None]] = [Future() for _ in items]
        self._waiting.extend(zip(items, futures, strict=True))
        for thread in self._threads[: len(items)]:
            thread.start()
        return futures

    def stop(self) -> None:
        """Cancel tasks that have not started, and wait up to `_GRACE` seconds for running ones."""
        while self._waiting:
            try:
                _, future = self._waiting.pop()
            except IndexError:  # a worker took the last item
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
            except BaseException as error:  # noqa: BLE001  raised by `Future.result`
                future.set_exception(error)
            else:
                future.set_result(None)
