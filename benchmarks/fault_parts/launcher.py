"""Starts phylocli commands in processes of their own, without the seconds that Python takes to import its libraries.

A process that has imported them, and computed nothing, forks a child for each command.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

MARK = "PHYLOCLI_FAULTS_MARK"
"""In the environment of a command and of all that it starts."""

SERVER = """
import json, os, resource, signal, sys
sys.path.insert(0, FOLDER)
from fault_parts.trials import preload
preload()
import matplotlib, phylocli.cli
matplotlib.use("svg")
import ctypes
def give_up_privileges():
    # Root stays root, but may no longer do what permissions forbid: without CAP_DAC_OVERRIDE, _READ_SEARCH and CAP_FOWNER.
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.capget(header, data)
    for place in range(3):
        data[place] &= ~0b1110
    if libc.capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")
for line in sys.stdin:
    task = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for each in (signal.SIGTERM, signal.SIGHUP):  # nohup has it ignored
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if task["ordinary"]:
            give_up_privileges()
        os.chdir(task["cwd"])
        os.environ.update(task["env"])
        null = os.open(os.devnull, os.O_RDONLY)
        log = os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(null, 0); os.dup2(log, 1); os.dup2(log, 2)
        sys.argv = ["phylocli", *task["arguments"]]
        code = 1
        try:
            phylocli.cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(); sys.stderr.flush()
            import multiprocessing.util
            multiprocessing.util._exit_function()
            os._exit(code)
    print(json.dumps({"pid": pid}), flush=True)
    _, status, usage = os.wait4(pid, 0)
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "memory": usage.ru_maxrss}), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """The result of a command.

    Attributes:
        code: exit code, or minus the number of the signal that ended it.
        output: what it wrote to standard output and standard error.
        seconds: that it took.
        memory: largest resident set, bytes.
        orphans: processes that it started and that were still alive two seconds later; they are killed.
    """

    code: int
    output: str
    seconds: float
    memory: int
    orphans: list[str]

    @property
    def traceback(self) -> bool:
        """Whether the user saw a traceback."""
        return "Traceback (most recent call last)" in self.output


class Launcher:
    """Runs commands one after the other. Use as a context manager.

    Args:
        env: environment of all commands, over that of this process.
    """

    def __init__(self, env: dict[str, str] | None = None) -> None:
        base = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "120", "POLARS_MAX_THREADS": "2"}
        self._env = {**os.environ, **base, **(env or {})}
        self._server: Any = None
        self._running: dict[str, Any] = {}

    def __enter__(self) -> Self:
        source = SERVER.replace("FOLDER", repr(str(Path(__file__).resolve().parent.parent)))
        self._server = subprocess.Popen(
            [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stdin.close()
        self._server.wait()

    def start(self, arguments: list[str], cwd: Path, env: dict[str, str] | None = None, *, ordinary: bool = False) -> int:
        """Start a command and return its process id.

        Args:
            arguments: after `phylocli`.
            cwd: working directory.
            env: variables over those of all commands.
            ordinary: let permissions apply to it, even where this process is root's.
        """
        mark, log = uuid.uuid4().hex, cwd / f".log-{uuid.uuid4().hex}"
        task = {
            "arguments": arguments, "cwd": str(cwd), "env": {**(env or {}), MARK: mark}, "log": str(log),
            "ordinary": ordinary,
        }  # fmt: skip
        self._server.stdin.write(json.dumps(task) + "\n")
        self._server.stdin.flush()
        pid = int(json.loads(self._server.stdout.readline())["pid"])
        self._running = {"pid": pid, "mark": mark, "log": log, "start": time.monotonic()}
        return pid

    def wait(self) -> Ended:
        """Wait for the command that was started last."""
        told = json.loads(self._server.stdout.readline())
        seconds = time.monotonic() - self._running["start"]
        left = _alive(self._running["mark"])
        end = time.monotonic() + 2
        while left and time.monotonic() < end:
            time.sleep(0.05)
            left = _alive(self._running["mark"])
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        log: Path = self._running["log"]
        output = log.read_text(errors="replace") if log.is_file() else ""
        log.unlink(missing_ok=True)
        return Ended(told["code"], output, seconds, told["memory"] * 1024, list(left.values()))

    def run(self, arguments: list[str], cwd: Path, env: dict[str, str] | None = None, *, ordinary: bool = False) -> Ended:
        """Run a command to its end."""
        self.start(arguments, cwd, env, ordinary=ordinary)
        return self.wait()

    def interrupted(
        self, arguments: list[str], cwd: Path, signum: int, after: float, env: dict[str, str] | None = None
    ) -> Ended:
        """Run a command and send it a signal after so many seconds, if it is not done by then."""
        pid = self.start(arguments, cwd, env)
        select.select([self._server.stdout], [], [], after)  # until it has ended, or so long
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
        return self.wait()


def _alive(mark: str) -> dict[int, str]:
    """Return the processes whose environment holds a mark, with their command lines; zombies are not alive."""
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found
