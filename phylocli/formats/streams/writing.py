"""Atomic writing of files and folders; files are compressed according to their suffix.

A file is written under a temporary name in the same folder, flushed to disk, and renamed when complete, so readers never see
an incomplete file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from phylocli.core.errors import PhylocliError, UsageError
from phylocli.formats.streams.compression import compressor
from phylocli.formats.streams.paths import STDIO, PathLike, check_local, fitting_name, is_file, is_url, without_secrets
from phylocli.formats.streams.remote import check_writable, upload

_WRITE_ERRORS = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or write elsewhere; nothing was kept"),
    errno.EDQUOT: ("your disk quota is used up", "free some space, or write elsewhere; nothing was kept"),
    errno.EFBIG: ("the file would become larger than allowed", "see 'ulimit -f', or write elsewhere; nothing was kept"),
    errno.EIO: ("the disk or the network failed while writing", "check the disk, or write elsewhere; nothing was kept"),
}


class OutputError(PhylocliError):
    """A file or folder cannot be written; its previous content is unchanged."""


def explain_os_error(error: OSError, path: PathLike) -> OutputError:
    """Return the error for a path that cannot be written."""
    what, fix = _WRITE_ERRORS.get(error.errno or 0, ("", ""))
    if what:
        return OutputError(f"{path}: {what}", fix=fix)
    why = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        why = "its folder does not exist or cannot be created"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        why = "its folder is a file"
    return OutputError(f"{path}: cannot be written", why=why, fix="choose another output with -o")


def _place(path: PathLike) -> Path:
    """Return the file or folder to write: the path, or the target of a symbolic link.

    Raises:
        UsageError: the name is empty, a URL, or a symbolic link that points to itself.
    """
    if not str(path):
        raise UsageError("the output has no name", fix="name a file with -o")
    check_local(path)
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link that points to itself", fix="remove it, or choose another output with -o"
        )
    return target


def _part_path(target: Path) -> Path:
    return target.with_name(fitting_name(f".{target.name}", ".part"))


@contextmanager
def _claimed(target: Path, name: PathLike, *, folder: bool = False, wait: bool = False) -> Iterator[Path]:
    """Yield the hidden temporary file or folder that becomes `target`, locked by this process; remove it at the end.

    Its name depends only on the target, and the kernel releases the lock when the process ends, so leftovers of a killed
    run are reused, and a run in progress is detected.

    Raises:
        PhylocliError: another run is writing this output, or the location is not writable.
    """
    part = _part_path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        handle, held = -1, False
        try:  # entered before the file is created, as a signal may arrive at any time
            while not held:
                if folder:
                    with contextlib.suppress(FileExistsError):
                        part.mkdir()
                kind = os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT
                handle = os.open(part, kind | os.O_NOFOLLOW, 0o666)
                stack.callback(os.close, handle)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError as error:
                    raise PhylocliError(
                        f"{name}: another run is writing it",
                        fix="wait until it has ended, or choose another output",
                    ) from error
                except OSError:
                    pass  # the file system does not support locks
                # The run that held the lock may have renamed the file in the meantime.
                with contextlib.suppress(FileNotFoundError):
                    held = os.path.samestat(os.fstat(handle), part.lstat())
            if folder:
                for left in part.iterdir():
                    shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            elif target.exists():
                os.fchmod(handle, stat.S_IMODE(target.stat().st_mode))
            yield part
        finally:
            # By now, the temporary file of the next run may have this name.
            with contextlib.suppress(OSError):
                if handle < 0:  # a signal may arrive between the creation of the file and the assignment of its descriptor
                    handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
                    stack.callback(os.close, handle)
                if not held:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(handle), part.lstat()):
                    shutil.rmtree(part) if folder else part.unlink()


@contextmanager
def atomic_path(path: PathLike, *, wait: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` after the block, or remove it after an error.

    For writers that need a path (Parquet, safetensors). Missing folders are created. If `path` is a symbolic link, its
    target is written; a named pipe, device or URL receives the content when it is complete. Whether a URL can be written is
    checked before the block; if the upload fails, the temporary file is kept.

    Args:
        path: the output file.
        wait: wait for another run that is writing the file, instead of raising an error.

    Raises:
        UsageError: the path is a folder, or on a web server.
        PhylocliError: the disk is full, the location is not writable, or another run is writing the file.
    """
    if is_url(path):
        check_writable(path)
        place = Path(tempfile.mkdtemp(prefix="phylocli-"))
        part, kept = place / (PurePosixPath(without_secrets(os.fspath(path))).name or "part"), False
        try:
            yield part
            try:
                upload(part, path)
            except PhylocliError as error:
                kept = True
                error.fix = f"the result is in {part}; copy it from there" + (f", or {error.fix}" if error.fix else "")
                raise
        finally:
            if not kept:
                shutil.rmtree(place, ignore_errors=True)
        return
    if not is_file(path):
        with tempfile.TemporaryDirectory(prefix="phylocli-") as folder:
            yield Path(folder) / "part"
            with (Path(folder) / "part").open("rb") as whole, open_output(path, compress=False) as stream:
                shutil.copyfileobj(whole, stream)
        return
    target = _place(path)
    if target.is_dir() or os.fspath(path).endswith("/"):
        raise UsageError(f"{path} is a folder, but the output is a file", fix=f"name a file in it: {target / 'NAME'}")
    with _explained(target, path):
        if target.exists() and not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, "the file is write-protected", str(target))
        with _claimed(target, path, wait=wait) as part:
            yield part
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
            part.replace(target)


@contextmanager
def _explained(target: Path, name: PathLike) -> Iterator[None]:
    """Convert `OSError`s about this output to `OutputError`s; errors of other files and of services are unchanged."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        part = _part_path(target)
        known = not isinstance(error.filename, str) or Path(error.filename) in (target, part, *target.parents)
        if error.errno is not None and (known or part in Path(error.filename).parents):
            raise explain_os_error(error, name) from error
        raise


@contextmanager
def open_output(target: PathLike | None, *, compress: bool = True, wait: bool = False) -> Iterator[BinaryIO]:
    """Open an output for writing bytes.

    Args:
        target: a path or URL, written atomically and compressed according to its suffix; `-` or None is standard output. A
            device or a named pipe is written to directly.
        compress: whether to compress; False for formats with their own compression.
        wait: see `atomic_path`.

    Raises:
        UsageError: the path is a folder.
        PhylocliError: the disk is full, the location is not writable, or another run is writing the file.
    """
    if target is None or str(target) == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with contextlib.ExitStack() as stack:
        if is_file(target) or is_url(target):
            raw: BinaryIO = stack.enter_context(stack.enter_context(atomic_path(target, wait=wait)).open("wb"))
        else:
            try:
                raw = stack.enter_context(Path(target).open("wb"))
            except OSError as error:
                raise explain_os_error(error, target) from error
        stream = compressor(raw, str(target)) if compress else raw
        try:
            yield stream
        except BaseException:
            # Close it here: otherwise the garbage collector would flush it to a closed file.
            with contextlib.suppress(Exception):
                stream.close()
            raise
        stream.close()


@contextmanager
def open_text_output(target: PathLike | None, *, wait: bool = False) -> Iterator[IO[str]]:
    """Open an output for writing text (UTF-8, `\n` line ends); see `open_output`."""
    with open_output(target, wait=wait) as stream:
        text = io.TextIOWrapper(cast(Any, stream), encoding="utf-8", newline="\n", write_through=False)
        try:
            yield text
            text.flush()
        finally:
            with contextlib.suppress(ValueError, OSError):
                text.detach()


def write_text(path: PathLike, text: str) -> None:
    """Write a small text file atomically; wait for another process that is writing it."""
    with open_text_output(path, wait=True) as handle:
        handle.write(text)


@contextmanager
def atomic_directory(path: PathLike) -> Iterator[Path]:
    """Yield a temporary folder; rename it to `path` after the block, or remove it after an error.

    Raises:
        UsageError: the path is a file.
        PhylocliError: the folder cannot be written, or another run is writing it.
    """
    target = _place(path)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{path} is a file, but the output is a folder", fix="name another folder")
    with _explained(target, path), _claimed(target, path, folder=True) as part:
        old = _aside(target)
        if old.exists() and not target.exists():
            old.replace(target)  # left by a run that was killed between the two renames
        yield part
        replace_directory(part, target)


def replace_directory(part: Path, target: Path) -> None:
    """Rename a folder to `target`, and delete the folder, or the symbolic link to one, that was there.

    Raises:
        OSError: it cannot be renamed; the folder that was there stays.
    """
    old = _aside(target)
    if target.exists():
        _delete(old)
        target.replace(old)
    try:
        part.replace(target)
    except OSError:
        if old.exists():
            old.replace(target)
        raise
    _delete(old)


def _aside(target: Path) -> Path:
    return target.with_name(fitting_name(f".{target.name}", ".old"))


def _delete(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)
