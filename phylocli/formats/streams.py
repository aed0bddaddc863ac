"""Files, pipes and compression: how every stage reads bytes and writes artefacts.

Reading sniffs the compression from the content (gzip, zstd, bzip2, xz); writing takes it from the suffix. A file is written
under a temporary name in the same folder, flushed to disk, and renamed when complete, so no reader ever meets half a file.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import lzma
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from phylocli.errors import BadInputError, PhylocliError

PathLike = str | os.PathLike[str]
STDIO = "-"

_MAGIC = {b"\x1f\x8b": "gz", b"\x28\xb5\x2f\xfd": "zst", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
_BINARY_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF document",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive (or a spreadsheet)",
    b"\x7fELF": "a program",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"\x89HDF": "an HDF5 file",
}


@dataclass
class InputRecord:
    """One input that a command has read: its name, size in bytes and SHA-256 as it lay on disk or came through the pipe."""

    name: str
    bytes: int
    sha256: str


@dataclass
class _Recorder:
    inputs: list[InputRecord] = field(default_factory=list)


_recorder: ContextVar[_Recorder | None] = ContextVar("phylocli_inputs", default=None)


@contextmanager
def recording_inputs() -> Iterator[list[InputRecord]]:
    """Collect an `InputRecord` for every input that is read within the block."""
    recorder = _Recorder()
    token = _recorder.set(recorder)
    try:
        yield recorder.inputs
    finally:
        _recorder.reset(token)


def recorded_inputs() -> list[InputRecord]:
    """Return the inputs read so far in the enclosing `recording_inputs` block, or an empty list outside one."""
    recorder = _recorder.get()
    return list(recorder.inputs) if recorder else []


def note_input(path: PathLike) -> None:
    """Record a file that something other than `open_input` reads (a Parquet table, a model), by hashing it."""
    recorder = _recorder.get()
    if recorder is not None and Path(path).is_file():
        file = Path(path)
        recorder.inputs.append(InputRecord(str(path), file.stat().st_size, file_sha256(file)))


def record_input(record: InputRecord) -> None:
    """Record an input that was hashed elsewhere."""
    recorder = _recorder.get()
    if recorder is not None:
        recorder.inputs.append(record)


def file_sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class _HashingReader(io.RawIOBase):
    """Passes bytes through, hashing them, so that a pipe too has a checksum in the provenance."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self._hash = hashlib.sha256()
        self._size = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        if not data and not self._ended:
            self._ended = True
            recorder = _recorder.get()
            if recorder is not None:
                recorder.inputs.append(InputRecord(self._name, self._size, self._hash.hexdigest()))
        self._hash.update(data)
        self._size += len(data)
        buffer[: len(data)] = data
        return len(data)


def display_name(source: PathLike | None) -> str:
    """Return how messages call an input: its path, or `standard input`."""
    return "standard input" if source is None or str(source) == STDIO else str(source)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    buffered = cast(Any, io.BufferedReader(cast(Any, raw), 1 << 20))
    head = buffered.peek(8)[:8]
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            if kind == "gz":
                return cast(BinaryIO, gzip.GzipFile(fileobj=buffered))
            if kind == "bz2":
                return cast(BinaryIO, bz2.BZ2File(buffered))
            if kind == "xz":
                return cast(BinaryIO, lzma.LZMAFile(buffered))
            return cast(BinaryIO, _zstd().ZstdDecompressor().stream_reader(buffered, read_across_frames=True))
    return cast(BinaryIO, buffered)


def _zstd() -> Any:
    import zstandard

    return zstandard


@contextmanager
def open_input(source: PathLike | None) -> Iterator[BinaryIO]:
    """Open an input for reading bytes, decompressed by its content.

    Args:
        source: a path; `-` or None is standard input.

    Raises:
        BadInputError: no such file, a folder, unreadable, or compressed data that end too early or are damaged.
    """
    name = display_name(source)
    with contextlib.ExitStack() as stack:
        if source is None or str(source) == STDIO:
            if sys.stdin.isatty():
                from phylocli import console

                console.info("reading from the terminal; end with Ctrl-D (or name a file)")
            raw: BinaryIO = sys.stdin.buffer
        else:
            try:
                raw = stack.enter_context(Path(source).open("rb"))
            except FileNotFoundError as error:
                raise BadInputError(f"{name}: no such file", fix="check the path") from error
            except IsADirectoryError as error:
                raise BadInputError(f"{name} is a folder, a file is needed") from error
            except PermissionError as error:
                raise BadInputError(f"{name}: permission denied") from error
        stream = _decompressed(cast(BinaryIO, _HashingReader(raw, name)))
        try:
            yield stream
        except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
            raise BadInputError(
                f"{name}: the compressed data are damaged or end too early",
                why=str(error),
                fix="the file was probably not downloaded or copied to its end; fetch it again",
            ) from error
        except Exception as error:
            if type(error).__name__ == "ZstdError":
                raise BadInputError(f"{name}: the compressed data are damaged", why=str(error)) from error
            raise


def text_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) from bytes of UTF-8, or Latin-1 where UTF-8 does not fit.

    Line ends may be `\\n`, `\\r\\n` or `\\r`; a byte-order mark is dropped.

    Raises:
        BadInputError: the bytes are no text (a picture, a table, zero bytes).
    """
    head = cast(Any, stream).peek(8)[:8] if hasattr(stream, "peek") else b""
    for magic, kind in _BINARY_MAGIC.items():
        if head.startswith(magic):
            raise BadInputError(f"{name} is {kind}, not a text file", fix="give sequences as FASTA or Stockholm")
    number = 0
    for chunk in stream:
        if b"\0" in chunk:
            raise BadInputError(
                f"{name}, line {number + 1}: holds zero bytes; this is not a text file",
                fix="give sequences as FASTA or Stockholm",
            )
        try:
            text = chunk.decode("utf-8")
        except UnicodeDecodeError:
            text = chunk.decode("latin-1")
        if number == 0:
            text = text.removeprefix("\ufeff")
        # A file with bare carriage returns comes as one chunk; "\r\n" as a line with "\r" at its end.
        for line in text.rstrip("\r\n").replace("\r\n", "\n").split("\r") if "\r" in text else (text.rstrip("\n"),):
            number += 1
            yield number, line


def _compressor(stream: BinaryIO, name: str) -> BinaryIO:
    if name.endswith(".gz"):
        # No name and no time in the header: the same input gives the same bytes.
        return cast(BinaryIO, gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0))
    if name.endswith(".zst"):
        return cast(BinaryIO, _zstd().ZstdCompressor().stream_writer(stream, closefd=False))
    if name.endswith(".bz2"):
        return cast(BinaryIO, bz2.BZ2File(stream, "wb"))
    if name.endswith(".xz"):
        return cast(BinaryIO, lzma.LZMAFile(stream, "wb"))
    return stream


def _explain_os_error(error: OSError, path: PathLike) -> PhylocliError:
    if error.errno == errno.ENOSPC:
        return PhylocliError(
            f"{path}: no space left on the disk", fix="free some space, or write elsewhere; nothing was kept"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PhylocliError(f"{path}: cannot be written", why=error.strerror, fix="choose another output with -o")
    return PhylocliError(f"{path}: cannot be written", why=error.strerror or str(error))


def _part_path(path: Path) -> Path:
    # The file's own name may be as long as the file system allows, so the temporary one does not contain all of it.
    return path.with_name(f".{path.name[:64]}.{os.getpid()}.part")


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` when the block ends well, remove it when not.

    For writers that want a path of their own (Parquet, safetensors). Folders on the way are made.

    Raises:
        PhylocliError: the disk is full, or the place cannot be written.
    """
    target = Path(path)
    part = _part_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        # Only trouble with this file is explained as such; another file's error keeps its own words.
        if error.filename is None or Path(error.filename) in (target, part, target.parent):
            raise _explain_os_error(error, path) from error
        raise


@contextmanager
def open_output(target: PathLike | None, *, compress: bool = True) -> Iterator[BinaryIO]:
    """Open an output for writing bytes.

    Args:
        target: a path, written atomically and compressed by its suffix; `-` or None is standard output.
        compress: False where the format compresses itself and the suffix says nothing.

    Raises:
        PhylocliError: the disk is full, or the place cannot be written.
    """
    if target is None or str(target) == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if str(target).startswith("/dev/"):  # /dev/null, /dev/stdout, /dev/fd/63 of a shell's process substitution
        with Path(target).open("wb") as device:
            yield device
        return
    with atomic_path(target) as part, part.open("wb") as raw:
        stream = _compressor(raw, str(target)) if compress else raw
        try:
            yield stream
        except BaseException:
            # Closed here, or the garbage collector would flush it into a file that is closed by then.
            with contextlib.suppress(Exception):
                stream.close()
            raise
        stream.close()


@contextmanager
def open_text_output(target: PathLike | None) -> Iterator[IO[str]]:
    """Open an output for writing text: UTF-8, `\\n` line ends; otherwise as `open_output`."""
    with open_output(target) as stream:
        text = io.TextIOWrapper(cast(Any, stream), encoding="utf-8", newline="\n", write_through=False)
        try:
            yield text
            text.flush()
        finally:
            with contextlib.suppress(ValueError, OSError):
                text.detach()


def write_text(path: PathLike, text: str) -> None:
    """Write a small text file atomically."""
    with open_text_output(path) as handle:
        handle.write(text)


@contextmanager
def atomic_directory(path: PathLike) -> Iterator[Path]:
    """Give a temporary folder; put it in the place of `path` when the block ends well, remove it when not."""
    target = Path(path)
    part = _part_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    except OSError as error:
        raise _explain_os_error(error, path) from error
    try:
        yield part
        old = part.with_name(part.name + ".old")
        if target.exists():
            target.replace(old)
        part.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(part, ignore_errors=True)
