"""Locks: one writer per folder or file at a time, and blocking locks on a file.

All are `flock` locks (of folders by the package filelock): the kernel releases them when the process ends, so no stale lock
remains. They work between machines if the file system supports them (NFS with its lock daemon, Lustre mounted with `flock`).
Where it does not, filelock falls back to a marker file with process and host.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypedDict, cast

from phylocli.core.errors import PhylocliError
from phylocli.formats.streams import PathLike, explain_os_error
from phylocli.formats.streams.paths import check_local

logger = logging.getLogger(__name__)

NAME = ".lock"
_PARTS = ".*.part"  # temporary names of `phylocli.formats.streams`


class InUseError(PhylocliError):
    """Another process is writing to the folder."""


@contextmanager
def exclusive(folder: PathLike, name: str = NAME) -> Iterator[None]:
    """Lock a folder within the block; another process that tries to lock it gets an error.

    The folder is created if it does not exist, and removed again if it remains empty. Temporary files of a killed process in
    it and in its subfolders are removed, except in subfolders with their own lock.

    Args:
        folder: the folder to write to.
        name: the name of the lock file. Processes that share the work in one folder use different names, and do not remove
            temporary files.

    Raises:
        UsageError: the folder is a URL.
        InUseError: another process holds the lock.
        PhylocliError: the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    check_local(folder)
    target = Path(folder)
    path = target / name
    made = [place for place in (target, *target.parents) if not place.exists()]
    lock = FileLock(path, timeout=0)
    try:
        try:
            target.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise InUseError(
                f"{target} is in use by {_holder(path)}",
                why="two processes that write into one folder would overwrite each other's files",
                fix="wait for it to end or stop it, or name another folder with -o",
            ) from None
        except OSError as error:
            raise explain_os_error(error, target) from error
        try:
            _note(path, target)
            if name == NAME:
                _clear(target)
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()  # before the release: a process that has opened the file notices that it is deleted
            lock.release()
    finally:
        with contextlib.suppress(OSError):  # not empty, as usual
            for place in made:
                place.rmdir()


def is_empty(folder: Path) -> bool:
    """Return whether a folder contains nothing, or only locks."""
    return all(path.name.endswith(".lock") for path in folder.iterdir())


@contextmanager
def waiting(path: PathLike, what: str) -> Iterator[None]:
    """Hold a lock within the block; other processes wait for it.

    Args:
        path: the lock file, in an existing folder. It is not removed.
        what: the activity of the other process, for the log message; if empty, nothing is logged.

    Raises:
        PhylocliError: the lock file cannot be created.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if what:
                logger.info(f"another process {what}; waiting for it")
            lock.acquire(poll_interval=0.05)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        yield
    finally:
        lock.release()


def locked(file: BinaryIO, path: Path) -> bool:
    """Lock an open file until it is closed; return whether it is locked for this process and still has its path.

    A file system without support for locks counts as success.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True


def _note(path: Path, folder: Path) -> None:
    """Write the holder of a lock to the lock file; warn if the file is left over from another machine."""
    before = _read(path)
    host = socket.gethostname()
    if before and before.get("host") != host:
        logger.warning(
            f"{folder} was in use by process {before.get('pid')} on {before.get('host')}, which seems to be dead; "
            "if it is still running, stop one of the two"
        )
    with contextlib.suppress(OSError):  # used in messages only
        path.write_text(json.dumps({"pid": os.getpid(), "host": host}) + "\n", encoding="utf-8")


class _Holder(TypedDict, total=False):
    pid: int
    host: str


def _read(path: Path) -> _Holder:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(_Holder, found) if isinstance(found, dict) else {}


def _holder(path: Path) -> str:
    found = _read(path)
    if "pid" not in found:
        return "another process"
    return f"process {found['pid']}" + ("" if found.get("host") == socket.gethostname() else f" on {found.get('host')}")


def _clear(folder: Path) -> None:
    inner = [place for place in folder.iterdir() if place.is_dir() and not any(place.glob("*.lock"))]
    for place in (folder, *inner):
        for left in place.glob(_PARTS):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
