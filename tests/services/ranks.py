"""Starts several processes as torchrun does, without the seconds that each of them needs to import PyTorch.

python ranks.py NUMBER SCRIPT ARGUMENTS…: or `-m MODULE ARGUMENTS…`. Ends with 1, and ends the others, if one of them fails.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys


def become(rank: int, count: int, port: int, words: list[str]) -> None:
    """Run a script or module as one of the processes."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        sys.path[0] = os.path.dirname(words[0])
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """Import the libraries, fork, and wait."""
    import phylocli.train  # noqa: F401

    count, words = int(sys.argv[1]), sys.argv[2:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = set()
    for rank in range(count):
        pid = os.fork()
        if pid == 0:
            become(rank, count, port, words)
            return
        running.add(pid)
    failed = False
    while running:
        pid, status = os.wait()
        running.discard(pid)
        if status and not failed:
            failed = True
            for other in running:
                os.kill(other, signal.SIGKILL)
    sys.exit(failed)


if __name__ == "__main__":
    main()
