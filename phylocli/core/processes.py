"""Worker processes and external programs that end with the process that started them, however that one ends.

A process that is killed (`kill -9`, the out-of-memory killer) cannot notify others. Its workers would then wait forever, and
its programs would compute a result that nobody reads. Therefore all of them hold one end of a pipe whose other end only
their parent holds: the system closes it when the parent ends, and they are killed. This needs no cooperation of the parent,
and works on Linux and macOS. Only this module starts processes.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from phylocli.core import console
from phylocli.core.errors import PhylocliError

GRACE = 5.0
"""Seconds for a worker to clean up when it is asked to end."""

# The program runs under a shell, with a subshell that waits for the end of the pipe and then kills the process group. The
# shell waits for both, so that no zombie remains if nothing reaps orphans (process 1 of a container).
_WITH_PARENT = """
exec 3<&0 </dev/null
(read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
watch=$!
"$@" 3<&-
status=$?
{ kill -KILL $watch; wait $watch; } 2>/dev/null
exit $status
"""


class WorkerPool(ProcessPoolExecutor):
    """Processes that work for a block, none of which outlives it or this process.

    Workers are spawned: forking a process with threads (linear algebra, progress bars) can hang. They ignore ^C, which this
    process handles, and SIGTERM raises `SystemExit` in them, so that temporary files are removed. If the block raises an
    exception, they are asked to end; otherwise they finish their current task. Tasks that have not started are cancelled.

    Args:
        count: of processes.
        initializer: a module-level function, called first in every worker.
        initargs: its arguments.
        grace: seconds between SIGTERM and SIGKILL; 0 kills at once, None waits for as long as it takes.
        level: from which on the workers print messages, if this process does (`console.show_messages`); None: the same.
        fix: advice for a worker that died.

    Raises:
        PhylocliError: a worker died, and the block did not handle `BrokenProcessPool`.
    """

    def __init__(
        self,
        count: int,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        grace: float | None = GRACE,
        level: int | None = None,
        fix: str = "use fewer --jobs",
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._grace, self._fix = grace, fix
        self._called_off = context.RawValue(ctypes.c_bool, False)
        shown = console.level() if level is None else level
        printed = (shown, console.messages_are_json()) if console.messages_are_shown() else None
        arguments = (self._called_off, printed, initializer, initargs)
        super().__init__(count, context, _start_worker, arguments)
        results: Any = self._result_queue
        results._reader._recv = functools.partial(_received, results._reader, self._processes)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a worker if none is idle, and submit the task."""
        with _signals_deferred():
            return super().submit(_work, function, *args, **kwargs)

    def end(self) -> None:
        """Ask the workers to end, kill those that take longer than the grace, and wait for them."""
        self._called_off.value = True
        processes = list((self._processes or {}).values())
        manager: threading.Thread | None = getattr(self, "_executor_manager_thread", None)
        for process in processes:
            process.kill() if self._grace == 0 else process.terminate()
        self.shutdown(wait=False, cancel_futures=True)
        end = None if self._grace is None else time.monotonic() + self._grace
        for process in processes:
            left = None if end is None else max(0.0, end - time.monotonic())
            if not multiprocessing.connection.wait([process.sentinel], left):
                process.kill()
        for process in processes:
            process.join()
        if manager is not None:
            manager.join()  # it may have noticed a worker's death that multiprocessing does not know of yet

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._called_off.value = True
            self.shutdown(wait=True, cancel_futures=True)
            return
        self.end()
        if isinstance(error, BrokenProcessPool):
            why = "the system may have ended it for lack of memory"
            raise PhylocliError("a worker process died", why=why, fix=self._fix) from error


def _received(reader: Any, workers: Mapping[int, Any], size: int) -> io.BytesIO:
    """Return the next bytes of a result; do not wait for them if a worker has died, which may have been sending it.

    All workers send through one pipe, whose end is thus not reached while one of them lives. A pool with a dead worker is
    broken anyway.

    Raises:
        EOFError: a worker has died.
    """
    found = io.BytesIO()
    while (left := size - found.tell()) > 0:
        sentinels = [worker.sentinel for worker in list(workers.values())]
        if reader not in multiprocessing.connection.wait([reader, *sentinels]):
            raise EOFError
        data = os.read(reader.fileno(), left)
        if not data:
            raise EOFError
        found.write(data)
    return found


def kill_children(numbers: Collection[int]) -> None:
    """Kill those of the processes that still run: Python waits at its end for all that it has started, for ever.

    Args:
        numbers: of processes that a library has started by multiprocessing in this process; others are left alone.
    """
    for process in multiprocessing.active_children():
        if process.pid in numbers:
            process.kill()
            process.join(GRACE)


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Let the handlers of signals (^C, SIGTERM, …) run after the block instead of within it.

    Most handlers raise. A worker that is only partly started would then be unknown to the pool: it would wait for its first
    message while holding the task queue, and the pool would wait for it.
    """
    if threading.current_thread() is not threading.main_thread():  # handlers run, and raise, in the main thread only
        yield
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


def run_program(
    command: Sequence[str | os.PathLike[str]],
    *,
    folder: Path | None = None,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without standard input, and return its two outputs.

    It and all that it starts end when the block is left by an exception (^C, SIGTERM, out of time), and when this process is
    killed.

    Args:
        command: the program and its arguments.
        folder: the working directory; None is this process's.
        timeout: seconds of wall time.
        environment: additional environment variables.

    Raises:
        TimeoutError: it took longer.
        OSError: the program does not exist.
    """
    found = shutil.which(command[0])
    if found is None:
        raise FileNotFoundError(f"there is no program {os.fspath(command[0])!r}")
    program = Path(found).absolute()  # it was found from this working directory, not from `folder`
    watched, held = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _WITH_PARENT, "sh", program, *command[1:]],
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=watched,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a separate process group, which can be ended as a whole
        )
        end = None if timeout is None else time.monotonic() + timeout
        try:
            out, err = _outputs(process, end)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"{program.name} was stopped after {timeout:g} s") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    finally:
        os.close(watched)
        os.close(held)
    return subprocess.CompletedProcess(list(command), process.returncode, out, err)


def _outputs(process: subprocess.Popen[str], end: float | None) -> tuple[str, str]:
    """Return the outputs of a program that ends before a time."""
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        if threading.current_thread() is not threading.main_thread():
            # An exception that another thread raises in this one (`tree.parallel.time_limit`) does not end a system call.
            left = 0.5 if left is None else min(left, 0.5)
        try:
            return process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            if end is not None and time.monotonic() >= end:
                raise


_called_off: ctypes.c_bool | None = None  # of this worker process, shared with its parent


def _start_worker(
    called_off: ctypes.c_bool,
    printed: tuple[int, bool] | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    global _called_off  # noqa: PLW0603  one process, one pool
    _called_off = called_off
    _end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _stop)
    if printed is not None:
        console.show_messages(printed[0], as_json=printed[1])
    if initializer is not None:
        initializer(*initargs)


def _work(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do the submitted task, unless the pool has ended in the meantime."""
    if _called_off is not None and _called_off.value:
        raise SystemExit
    return function(*args, **kwargs)


def _stop(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def _end_with_parent() -> None:
    """Make this worker end with its parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    with contextlib.suppress(ImportError, AttributeError, OSError):
        # Linux: the kernel sends SIGKILL when the pipe is closed, even during a long call into a compiled library that
        # blocks other threads. (PR_SET_PDEATHSIG would follow the thread that started the worker instead.)
        import fcntl

        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    # Elsewhere, and if the parent has already ended.
    threading.Thread(target=_wait_for_parent, args=(parent.sentinel,), daemon=True, name="phylocli-parent").start()


def _wait_for_parent(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
