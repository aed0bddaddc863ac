"""A function call in a separate process: result, time and memory."""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARIES = (
    "numpy", "scipy.sparse", "scipy.stats", "pyarrow.parquet", "polars", "torch", "pyhmmer", "sklearn.metrics", "skbio",
    "jinja2", "rich.progress", "phylocli.train", "phylocli.embed", "phylocli.search", "phylocli.probe", "phylocli.workflow",
    "phylocli.tree", "phylocli.families", "phylocli.train.sweep", "phylocli.fetch", "phylocli.cli",
)  # fmt: skip
"""What takes seconds to import; nothing of it computes, or starts threads, when imported."""


def preload() -> None:
    """Import the libraries, so that forks of this process need not."""
    for name in LIBRARIES:
        importlib.import_module(name)


@dataclass(frozen=True)
class Outcome:
    """What came of a call.

    Attributes:
        kind: `value`, `error` (a typed error), `untyped` (another exception), `crash`, or `timeout`.
        text: the value, the error's message, the exception, or the signal.
        seconds: processor time.
        memory: growth of the largest resident set, bytes.
    """

    kind: str
    text: str
    seconds: float
    memory: int


def trial(call: Callable[[], str], *, seconds: float = 20.0, memory: int | None = None) -> Outcome:
    """Call a function in a forked process and return the outcome.

    Args:
        call: returns its result as text.
        seconds: after which it is killed.
        memory: bytes of address space that it may take beyond what this process has; None: any.
    """
    from phylocli.core.errors import PhylocliError

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        if memory is not None:
            held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: SIM115, PTH123
            resource.setrlimit(resource.RLIMIT_AS, (held + memory, held + memory))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            kind, text = "value", call()
        except PhylocliError as error:
            kind, text = "error", str(error)
        except BaseException as error:  # noqa: BLE001  that is what is measured
            kind, text = "untyped", f"{type(error).__name__}: {error}"
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        told = {"kind": kind, "text": text[:20_000], "seconds": time.process_time() - start, "memory": grown * 1024}
        with os.fdopen(write, "w") as stream:
            json.dump(told, stream)
        os._exit(0)
    os.close(write)
    data, end = b"", time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        ready = select.select([read], [], [], max(0.0, left))[0]
        if not ready:
            os.kill(pid, signal.SIGKILL)
            break
        chunk = os.read(read, 1 << 16)
        if not chunk:
            break
        data += chunk
    os.close(read)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if data:
        found: dict[str, Any] = json.loads(data)
        return Outcome(**found)
    return Outcome("timeout" if status == -signal.SIGKILL else "crash", f"ended by {status}", seconds, 0)
