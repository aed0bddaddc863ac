"""Files, pipes and compression: how every stage reads bytes and writes artefacts.

Reading sniffs the compression from the content (gzip, zstd, bzip2, xz); writing takes it from the suffix. A file is written
under a temporary name in the same folder, flushed to disk, and renamed when complete, so no reader ever meets half a file.
"""

from __future__ import annotations

import bz2
import codecs
import contextlib
import errno
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from phylocli.core.errors import BadInputError, PhylocliError, UsageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PathLike = str | os.PathLike[str]
STDIO = "-"

_BINARY_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF document",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive (or a spreadsheet)",
    b"\x7fELF": "a program",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed twice",
    b"\x28\xb5\x2f\xfd": "compressed twice",
    b"\xfd7zXZ\0": "compressed twice",
    b"BZh9": "compressed twice",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x1f\x9d": "compressed by 'compress'",
    b"\x04\x22\x4d\x18": "compressed by LZ4",
}

PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes that say how an output is compressed."""

BOMB_RATIO = 200
"""Compressed inputs that expand to more than so many times their size are refused, from `BOMB_SIZE` bytes on.

Alignments full of gaps reach half of it. It bounds the memory that a small hostile file can take.
"""
BOMB_SIZE = 16 << 20


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


Input = io.BufferedReader
"""An open, decompressed input. Before anything is read, `peek` shows its first line or more, of a pipe too."""


class _Raw(io.RawIOBase):
    """Bytes as they come, the first of them not before the first line is complete, for `peek` to show it."""

    _begun = False

    def readable(self) -> bool:
        return True

    def _more(self, size: int) -> bytes:
        raise NotImplementedError

    def readinto(self, buffer: Any) -> int:
        data = self._more(len(buffer))
        while not self._begun and len(data) < _HEAD and not _FIRST_LINE.match(data):
            more = self._more(_HEAD - len(data))
            self._begun = not more
            data += more
        self._begun = True
        buffer[: len(data)] = data
        return len(data)


# Comments, as A3M has them before the first header, do not count as a line; zero bytes are UTF-16's.
_FIRST_LINE = re.compile(rb"(?:\s*[#;][^\n]*\n)*[\s\0]*[^\s#;][^\n]*\n")
_HEAD = 4096


class _Source(_Raw):
    """Passes bytes through, counting and hashing them, so that a pipe too has a checksum in the provenance.

    What goes wrong while reading is said with the input's name.
    """

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self._hash = hashlib.sha256()
        self.size = 0
        self._ended = False

    def _more(self, size: int) -> bytes:
        try:
            # What a pipe holds already, without waiting for more: the next record may be long in coming.
            data: bytes = cast(Any, self._raw).read1(size)
        except OSError as error:
            raise explain_read_error(error, self._name) from error
        if not data and not self._ended:
            self._ended = True
            recorder = _recorder.get()
            if recorder is not None:
                recorder.inputs.append(InputRecord(self._name, self.size, self._hash.hexdigest()))
        self._hash.update(data)
        self.size += len(data)
        return data


def explain_read_error(error: OSError, name: str) -> PhylocliError:
    """Return what goes wrong when an input is opened or read, as an error that names it."""
    if error.errno == errno.ENOENT:
        return BadInputError(f"{name}: no such file", fix="check the path")
    if error.errno == errno.EISDIR:
        return BadInputError(f"{name} is a folder, a file is needed")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadInputError(f"{name}: permission denied")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
        return BadInputError(f"{name}: cannot be opened", why=error.strerror, fix="check the path")
    if error.errno == errno.EBADF:
        return BadInputError(f"{name} is closed", fix="name an input file, or pipe data in")
    return PhylocliError(f"{name}: cannot be read", why=error.strerror or str(error))


def display_name(source: PathLike | None) -> str:
    """Return how messages call an input: its path, or `standard input`."""
    if source is None or str(source) == STDIO:
        return "standard input"
    return decode_text(os.fsencode(source))  # names of files are bytes, of any encoding


class _Members:
    """Decompresses the streams of a bzip2 or xz file, one after the other.

    `BZ2File` and `LZMAFile` take whatever follows the first stream for padding where it cannot be decompressed: of a file
    whose second stream is damaged they return the first as the whole. Here only zero bytes are padding.
    """

    def __init__(self, source: BinaryIO, new: Callable[[], Any]) -> None:
        self._source = source
        self._new = new
        self._stream: Any = None
        self._rest = b""  # read and not yet decompressed

    def read1(self, size: int) -> bytes:
        while True:
            data = b""
            if self._stream is None:
                data = self._rest or cast(Any, self._source).read1(1 << 16)
                if not data:
                    return b""
                self._rest = b""
                data = data.lstrip(b"\0")
                if not data:
                    continue
                self._stream = self._new()
            elif self._stream.needs_input:
                data = cast(Any, self._source).read1(1 << 16)
                if not data:
                    raise EOFError("the last stream has no end")
            found: bytes = self._stream.decompress(data, size)
            if self._stream.eof:
                self._rest, self._stream = self._stream.unused_data, None
            if found:
                return found


class _Decompressed(_Raw):
    """What a compressed input holds; damage, and more than any real data would expand to, is an error that names it."""

    def __init__(self, stream: Any, source: _Source, name: str) -> None:
        self._stream = stream
        self._source = source
        self._name = name
        self._size = 0

    def _more(self, size: int) -> bytes:
        try:
            data: bytes = self._stream.read1(size)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            raise BadInputError(
                f"{self._name}: the compressed data are damaged or end too early",
                why=str(error),
                fix="the file was probably not downloaded or copied to its end; fetch it again",
            ) from error
        self._size += len(data)
        if self._size > BOMB_SIZE and self._size > BOMB_RATIO * self._source.size:
            raise BadInputError(
                f"{self._name} expands to more than {BOMB_RATIO} times its size",
                why="sequences and tables do not compress so well; this looks like a decompression bomb",
                fix="if it is what you want to read, decompress it first",
            )
        return data


def _decompressed(source: _Source, name: str) -> Input:
    packed: Input = io.BufferedReader(cast(Any, source), 1 << 20)
    head = packed.peek(8)[:8]
    stream: Any
    if head.startswith(b"\x1f\x8b"):
        stream = gzip.GzipFile(fileobj=packed)
    elif head.startswith(b"BZh"):
        stream = _Members(packed, bz2.BZ2Decompressor)
    elif head.startswith(b"\xfd7zXZ\0"):
        stream = _Members(packed, lzma.LZMADecompressor)
    elif head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        stream = zstd.ZstdFile(packed)  # the second form is a frame to be skipped, which parallel compressors write first
    else:
        return packed
    return io.BufferedReader(cast(Any, _Decompressed(stream, source, name)), 1 << 16)


@contextmanager
def open_input(source: PathLike | None) -> Iterator[Input]:
    """Open an input for reading bytes, decompressed by its content.

    Args:
        source: a path; `-` or None is standard input.

    Raises:
        BadInputError: no such file, a folder, unreadable, or compressed data that end too early, are damaged, or expand
            without end.
        PhylocliError: the disk or the network fails while reading.
    """
    name = display_name(source)
    with contextlib.ExitStack() as stack:
        if source is None or str(source) == STDIO:
            if sys.stdin.isatty():
                from phylocli.core import console

                console.info("reading from the terminal; end with Ctrl-D (or name a file)")
            raw: BinaryIO = sys.stdin.buffer
        else:
            try:
                raw = stack.enter_context(Path(source).open("rb"))
            except OSError as error:
                raise explain_read_error(error, name) from error
        yield _decompressed(_Source(raw, name), name)


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Decode the bytes that are no UTF-8 as Windows-1252, of which Latin-1 is a part; its five gaps as Latin-1 does."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    data = error.object[error.start : error.end]
    return "".join(bytes([b]).decode("cp1252" if b not in _CP1252_GAPS else "latin-1") for b in data), error.end


_CP1252_GAPS = b"\x81\x8d\x8f\x90\x9d"
_FALLBACK = "phylocli.windows-1252"
codecs.register_error(_FALLBACK, _as_windows_1252)


def _encoding(head: bytes) -> tuple[str, str]:
    """Return encoding and error handler for text that starts so."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "strict"
    return "utf-8-sig", _FALLBACK


def decode_text(data: bytes, name: str = "the text") -> str:
    """Return the text that bytes hold: the one way in which everything that is text is decoded.

    UTF-8, or UTF-16 where a byte-order mark says so; single bytes that are no UTF-8 are Windows-1252 (Latin-1). A
    byte-order mark is dropped. Line ends stay as they are.

    Raises:
        BadInputError: UTF-16 that is damaged.
    """
    try:
        return data.decode(*_encoding(data[:2]))
    except UnicodeDecodeError as error:
        raise _not_utf16(name, error) from error


def decode_head(head: bytes) -> str:
    """Return the text that a file starts with, from bytes that may end in the middle of a character; line ends are `\\n`."""
    encoding, errors = _encoding(head[:2])
    text = head.decode(encoding, "replace" if errors == "strict" else errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(source: PathLike | None) -> str:
    """Return a whole input as text: decompressed, decoded as `decode_text` does, with `\n` line ends.

    Raises:
        BadInputError: as `open_input`; a binary file.
    """
    name = display_name(source)
    with open_input(source) as stream:
        return "\n".join(line for _, line in text_lines(stream, name))


def text_stream(stream: BinaryIO, name: str) -> io.TextIOWrapper:
    """Return decompressed bytes as a text stream, decoded as `decode_text` does, any line end read as `\n`.

    Raises:
        BadInputError: the bytes are no text (a picture, a table, an archive).
    """
    peekable = stream if hasattr(stream, "peek") else io.BufferedReader(cast(Any, stream))
    head = cast(Any, peekable).peek(512)[:512]
    kind = next((kind for magic, kind in _BINARY_MAGIC.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        kind = "a tar archive"
    if kind:
        raise BadInputError(f"{name} is {kind}, not a text file", fix="give sequences as FASTA or Stockholm")
    encoding, errors = _encoding(head)
    return io.TextIOWrapper(cast(Any, peekable), encoding=encoding, errors=errors)


def text_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) from decompressed bytes, decoded as `decode_text` does.

    Line ends may be `\n`, `\r\n` or `\r`.

    Raises:
        BadInputError: the bytes are no text (a picture, a table, zero bytes).
    """
    text = text_stream(stream, name)
    try:
        for number, line in enumerate(text, 1):
            if "\0" in line:
                raise BadInputError(
                    f"{name}, line {number}: holds zero bytes; this is not a text file",
                    fix="give sequences as FASTA or Stockholm",
                )
            yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise _not_utf16(name, error) from error
    finally:
        with contextlib.suppress(ValueError):  # closed by now
            text.detach()


def _not_utf16(name: str, error: UnicodeDecodeError) -> BadInputError:
    return BadInputError(
        f"{name} is not valid UTF-16, though its byte-order mark says so", why=error.reason, fix="save it as UTF-8"
    )


def is_file(target: PathLike | None) -> bool:
    """Return whether an output is a file: written atomically, with its provenance beside it.

    Standard output, devices and named pipes are not: what is written there goes through.
    """
    if target is None or str(target) == STDIO or str(target).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return False
    try:
        mode = Path(target).stat().st_mode
    except OSError:
        return True  # not there yet
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _compressor(stream: BinaryIO, name: str) -> BinaryIO:
    name = name.lower()
    if name.endswith(".gz"):
        # No name and no time in the header: the same input gives the same bytes.
        return cast(BinaryIO, gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0))
    if name.endswith(".zst"):
        return cast(BinaryIO, zstd.ZstdFile(cast(Any, stream), "w"))
    if name.endswith(".bz2"):
        return cast(BinaryIO, bz2.BZ2File(stream, "wb"))
    if name.endswith(".xz"):
        return cast(BinaryIO, lzma.LZMAFile(stream, "wb"))
    return stream


_WRITE_ERRORS = {
    errno.ENOSPC: ("no space left on the disk", "free some space, or write elsewhere; nothing was kept"),
    errno.EDQUOT: ("your disk quota is used up", "free some space, or write elsewhere; nothing was kept"),
    errno.EFBIG: ("the file would become larger than allowed", "see 'ulimit -f', or write elsewhere; nothing was kept"),
    errno.EIO: ("the disk or the network failed while writing", "check the disk, or write elsewhere; nothing was kept"),
}


class OutputError(PhylocliError):
    """A file or folder that cannot be written; what was there before is still there."""


def explain_os_error(error: OSError, path: PathLike) -> OutputError:
    """Return an error of writing a path as one that the user can act on."""
    what, fix = _WRITE_ERRORS.get(error.errno or 0, ("", ""))
    if what:
        return OutputError(f"{path}: {what}", fix=fix)
    why = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        why = "its folder vanished, or cannot be made"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        why = "there is a file where its folder would be"
    return OutputError(f"{path}: cannot be written", why=why, fix="choose another output with -o")


NAME_BYTES = 255
"""Most bytes of a file's name on common file systems."""


def fitting_name(name: str, suffix: str) -> str:
    """Return `name` with `suffix` behind it; of a name that would be too long, the start and a checksum of the whole."""
    data = os.fsencode(name)
    room = NAME_BYTES - len(os.fsencode(suffix))
    if len(data) <= room:
        return name + suffix
    digest = hashlib.sha256(data).hexdigest()[:12]
    return data[: room - len(digest) - 1].decode("utf-8", "ignore") + f"-{digest}{suffix}"


def _place(path: PathLike) -> Path:
    """Return the file or folder that an output's name stands for: of a symbolic link, what it points at.

    Raises:
        UsageError: the name is empty, or a link that points at itself.
    """
    if not str(path):
        raise UsageError("the output has no name", fix="name a file with -o")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link that points at itself", fix="remove it, or choose another output with -o"
        )
    return target


def _part_path(target: Path) -> Path:
    return target.with_name(fitting_name(f".{target.name}", ".part"))


@contextmanager
def _claimed(target: Path, name: PathLike, *, folder: bool = False, wait: bool = False) -> Iterator[Path]:
    """Give the hidden temporary file or folder that becomes `target`, held by this process alone; remove it at the end.

    Its name depends on the target alone, and the kernel drops the lock on it when the process ends: what a killed run has
    left is used again, and a run that is under way is noticed.

    Raises:
        PhylocliError: another run is writing this output, or the place cannot be written.
    """
    part = _part_path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        handle, held = -1, False
        try:  # from before the file is there, for a signal may end the process at any moment
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
                        f"{name}: another run is writing it at this moment",
                        fix="wait until it has ended, or choose another output",
                    ) from error
                except OSError:
                    pass  # a file system without locks
                # The run that held it may have put it into its place meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    held = os.path.samestat(os.fstat(handle), part.lstat())
            if folder:
                for left in part.iterdir():
                    shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            elif target.exists():
                os.fchmod(handle, stat.S_IMODE(target.stat().st_mode))
            yield part
        finally:
            # What is there under this name may by now be the temporary file of the next run.
            with contextlib.suppress(OSError):
                if handle >= 0 and not held:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if handle >= 0 and os.path.samestat(os.fstat(handle), part.lstat()):
                    shutil.rmtree(part) if folder else part.unlink()


@contextmanager
def atomic_path(path: PathLike, *, wait: bool = False) -> Iterator[Path]:
    """Give a temporary path in the folder of `path`; rename it to `path` when the block ends well, remove it when not.

    For writers that want a path of their own (Parquet, safetensors). Folders on the way are made. Where `path` is a symbolic
    link, what it points at is written; a named pipe or device gets what was written when it is complete.

    Args:
        path: the file.
        wait: where another run is writing the file, wait for it, instead of refusing.

    Raises:
        UsageError: the path names a folder.
        PhylocliError: the disk is full, the place cannot be written, or another run is writing the file.
    """
    if not is_file(path):
        with tempfile.TemporaryDirectory(prefix="phylocli-") as folder:
            yield Path(folder) / "part"
            with (Path(folder) / "part").open("rb") as whole, open_output(path, compress=False) as stream:
                shutil.copyfileobj(whole, stream)
        return
    target = _place(path)
    if target.is_dir() or os.fspath(path).endswith("/"):
        raise UsageError(f"{path} is a folder, and the output is a file", fix=f"name a file in it: {target / 'NAME'}")
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
    """Explain what goes wrong with this output; another file's error, and a service's, keep their own words."""
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
        target: a path, written atomically and compressed by its suffix; `-` or None is standard output. A device or a named
            pipe is written to as it is.
        compress: False where the format compresses itself and the suffix says nothing.
        wait: as for `atomic_path`.

    Raises:
        UsageError: the path names a folder.
        PhylocliError: the disk is full, the place cannot be written, or another run is writing the file.
    """
    if target is None or str(target) == STDIO:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with contextlib.ExitStack() as stack:
        if is_file(target):
            raw: BinaryIO = stack.enter_context(stack.enter_context(atomic_path(target, wait=wait)).open("wb"))
        else:
            try:
                raw = stack.enter_context(Path(target).open("wb"))
            except OSError as error:
                raise explain_os_error(error, target) from error
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
def open_text_output(target: PathLike | None, *, wait: bool = False) -> Iterator[IO[str]]:
    """Open an output for writing text: UTF-8, `\n` line ends; otherwise as `open_output`."""
    with open_output(target, wait=wait) as stream:
        text = io.TextIOWrapper(cast(Any, stream), encoding="utf-8", newline="\n", write_through=False)
        try:
            yield text
            text.flush()
        finally:
            with contextlib.suppress(ValueError, OSError):
                text.detach()


def write_text(path: PathLike, text: str) -> None:
    """Write a small text file atomically; where another process is writing it, after that."""
    with open_text_output(path, wait=True) as handle:
        handle.write(text)


@contextmanager
def atomic_directory(path: PathLike) -> Iterator[Path]:
    """Give a temporary folder; put it in the place of `path` when the block ends well, remove it when not.

    Raises:
        UsageError: the path names a file.
        PhylocliError: the place cannot be written, or another run is writing the folder.
    """
    target = _place(path)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{path} is a file, and the output is a folder", fix="name another folder")
    old = target.with_name(fitting_name(f".{target.name}", ".old"))
    with _explained(target, path), _claimed(target, path, folder=True) as part:
        if old.exists() and not target.exists():
            old.replace(target)  # of a run that was killed between the two renames
        yield part
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.replace(old)
        try:
            part.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
