"""Runs `phylocli` commands in processes of their own, without the seconds that Python needs to import its libraries.

A server process imports the large libraries, computes nothing, and forks a child for each command. The child has the
environment, the working directory and the streams of the command, imports phylocli afresh and runs it as `python -m
phylocli` does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

LIBRARIES = (
    "torch",
    "polars",
    "scipy.stats",
    "scipy.optimize",
    "pydantic",
    "pyhmmer",
    "ete3",
    "Bio.SeqIO",
    "matplotlib.figure",
)
# Libraries read these when they are loaded: a command that changes one is started without the server.
READ_WHEN_LOADED = ("OMP_", "MKL_", "ATEN_", "ONEDNN_", "TORCH_", "POLARS_", "NUMBA_", "PYTHON", "LD_", "MPL", "HF_")


class ForkServer:
    """Runs commands in forked processes, one after the other. Use as a context manager."""

    def __enter__(self) -> Self:
        self._environment = dict(os.environ)
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._answers = self._socket.makefile("r")
        return self

    def __exit__(self, *exception: object) -> None:
        self._answers.close()
        self._socket.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def accepts(self, environment: dict[str, str]) -> bool:
        """Return whether a command with this environment may run here."""
        differences = environment.items() ^ self._environment.items()
        return not any(name.startswith(READ_WHEN_LOADED) for name, _ in differences)

    def run(
        self, arguments: Sequence[str], *, input: bytes, env: dict[str, str], cwd: Path, timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, with a pipe as each of its streams.

        Raises:
            subprocess.TimeoutExpired: it took more than `timeout` seconds, and was killed.
        """
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        written: list[bytes] = [b"", b""]

        def read(number: int, stream: BinaryIO) -> None:
            written[number] = stream.read()

        with (
            os.fdopen(pipes[0][1], "wb") as stdin,
            os.fdopen(pipes[1][0], "rb") as stdout,
            os.fdopen(pipes[2][0], "rb") as stderr,
        ):
            task = json.dumps({"arguments": list(arguments), "env": env, "cwd": str(cwd)}).encode()
            socket.send_fds(self._socket, [len(task).to_bytes(4, "little")], theirs)
            for descriptor in theirs:
                os.close(descriptor)
            self._socket.sendall(task)
            pid = int(self._answers.readline())
            readers = [threading.Thread(target=read, args=each) for each in enumerate((stdout, stderr))]
            for reader in readers:
                reader.start()
            killed = threading.Event()

            def kill() -> None:
                killed.set()
                os.killpg(pid, signal.SIGKILL)

            limit = threading.Timer(timeout, kill)
            limit.start()
            with contextlib.suppress(BrokenPipeError):
                stdin.write(input)
                stdin.close()
            code = int(self._answers.readline())
            limit.cancel()
            for reader in readers:
                reader.join(30)
            left = any(reader.is_alive() for reader in readers)
            if left:  # a process that the command left behind has its streams
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                for reader in readers:
                    reader.join(30)
        assert not left, f"the command left a process behind: {' '.join(arguments)}"
        command = [sys.executable, "-m", "phylocli", *arguments]
        if killed.is_set():
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, code, *written)


def _serve(requests: socket.socket) -> None:
    """Fork a child for each request; send its process id, and its exit code when it has ended."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()
    while True:
        size, streams, _, _ = socket.recv_fds(requests, 4, 3)
        if not size:
            return
        task = json.loads(requests.recv(int.from_bytes(size, "little"), socket.MSG_WAITALL))
        pid = os.fork()
        if pid == 0:
            requests.close()
            _become(task["arguments"], task["env"], task["cwd"], streams)
            return
        for stream in streams:
            os.close(stream)
        requests.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        requests.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
    """Run a command in this process, as a new one would."""
    os.setsid()
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    # Those of the server know its own streams: whether they can seek, whether they are a terminal.
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["phylocli", *arguments]
    sys.path[0] = folder
    runpy.run_module("phylocli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
