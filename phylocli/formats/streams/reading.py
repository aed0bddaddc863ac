"""Reading of files, pipes and standard input; compression (gzip, zstd, bzip2, xz) is detected from the content."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import hashlib
import io
import logging
import lzma
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.formats.streams.compression import zstd
from phylocli.formats.streams.paths import STDIO, PathLike, is_url
from phylocli.formats.streams.recording import InputRecord, active_recorder, recording_inputs
from phylocli.formats.streams.remote import open_remote
from phylocli.formats.streams.text import COPIES, display_name, text_lines

logger = logging.getLogger(__name__)

BOMB_RATIO = 200
"""Maximum ratio of decompressed to compressed size of an input, checked from `BOMB_SIZE` decompressed bytes on.

It bounds the memory that a small malicious file can use. Alignments with many gaps reach half of it.
"""
BOMB_SIZE = 8 << 20


def check_expansion(expanded: int, packed: int, name: str, *, ratio: int = BOMB_RATIO, size: int = BOMB_SIZE) -> None:
    """Raise an error if an input expands too much.

    Args:
        expanded: bytes of the expanded input, or of a part of it.
        packed: bytes of the input.
        name: of the input, for the message.
        ratio, size: limits.

    Raises:
        BadInputError: the expanded input has more than `size` bytes, and more than `ratio` times those of the input.
    """
    if expanded > size and expanded > ratio * packed:
        raise BadInputError(
            f"{name} expands to more than {ratio} times its size",
            why="sequences and tables do not compress this well; it looks like a decompression bomb",
            fix="if the file is genuine, decompress it first, or write it without compression",
        )


Input = io.BufferedReader
"""An open, decompressed input. Before the first read, `peek` returns at least the first line, also for a pipe."""


class _Raw(io.RawIOBase):
    """A raw stream whose first read waits until the first line is complete, so that `peek` can return it."""

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


# Comment lines (A3M files start with them) are skipped; zero bytes occur in UTF-16.
_FIRST_LINE = re.compile(rb"(?:\s*[#;][^\n]*\n)*[\s\0]*[^\s#;][^\n]*\n")
_HEAD = 4096


class _Source(_Raw):
    """Passes bytes through, counting and hashing them for the provenance; read errors name the input."""

    def __init__(self, raw: BinaryIO, name: str) -> None:
        self._raw = raw
        self._name = name
        self._hash = hashlib.sha256()
        self.size = 0
        self._ended = False

    def _more(self, size: int) -> bytes:
        try:
            # Do not wait until the buffer is full: in a pipe, the next record may arrive much later.
            data: bytes = cast(Any, self._raw).read1(size)
        except OSError as error:
            raise explain_read_error(error, self._name) from error
        if not data and not self._ended:
            self._ended = True
            recorder = active_recorder.get()
            if recorder is not None:
                recorder.inputs.append(InputRecord(self._name, self.size, self._hash.hexdigest()))
        self._hash.update(data)
        self.size += len(data)
        return data


def explain_read_error(error: OSError, name: str) -> PhylocliError:
    """Return the error for an input that cannot be opened or read."""
    if error.errno == errno.ENOENT:
        return BadInputError(f"{name}: no such file", fix="check the path")
    if error.errno == errno.EISDIR:
        return BadInputError(f"{name} is a folder, not a file", fix="name a file in it")
    if error.errno in (errno.EACCES, errno.EPERM):
        return BadInputError(f"{name}: permission denied", fix="make it readable: chmod u+r")
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
        return BadInputError(f"{name}: cannot be opened", why=error.strerror, fix="check the path")
    if error.errno == errno.EBADF:
        return BadInputError(f"{name} is closed", fix="name an input file, or pipe data in")
    return PhylocliError(
        f"{name}: cannot be read",
        why=error.strerror or str(error),
        fix="check the file and its disk, or copy the file elsewhere",
    )


class _Members:
    """Decompresses the concatenated streams of a bzip2 or xz file.

    `BZ2File` and `LZMAFile` ignore invalid data after the first stream, so a file whose second stream is damaged would be
    truncated silently. Here, only zero bytes are ignored, as padding.
    """

    def __init__(self, source: BinaryIO, new: Callable[[], Any]) -> None:
        self._source = source
        self._new = new
        self._stream: Any = None
        self._rest = b""  # compressed data left over from the previous stream

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
    """The content of a compressed input; damaged data and excessive expansion raise errors that name the input."""

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
        check_expansion(self._size, self._source.size, self._name)
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
        stream = zstd.ZstdFile(packed)  # the second form is a skippable frame, which parallel compressors write first
    else:
        return packed
    return io.BufferedReader(cast(Any, _Decompressed(stream, source, name)), 1 << 16)


@contextmanager
def open_input(source: PathLike | None) -> Iterator[Input]:
    """Open an input for reading bytes; compressed data are decompressed.

    Args:
        source: a path or URL; `-` or None is standard input.

    Raises:
        BadInputError: the file does not exist, is a folder or is not readable, or its compressed data are damaged, truncated
            or expand more than `BOMB_RATIO` times.
        PhylocliError: the disk or the network fails during reading.
        MissingDependencyError: the library for a URL is not installed.
    """
    name = display_name(source)
    with contextlib.ExitStack() as stack:
        if source is None or str(source) == STDIO:
            if sys.stdin.isatty():
                logger.info("reading from the terminal; end with Ctrl-D (or name a file)")
            raw: BinaryIO = sys.stdin.buffer
        elif is_url(source):
            raw = stack.enter_context(open_remote(source))
        else:
            try:
                raw = stack.enter_context(Path(source).open("rb"))
            except OSError as error:
                raise explain_read_error(error, name) from error
        yield _decompressed(_Source(raw, name), name)


@contextmanager
def at_rest(source: PathLike | None) -> Iterator[Path]:
    """Yield the path of a file that can be read more than once: the input, or a temporary copy of a pipe or URL.

    Messages and provenance show the name of the input, not of the copy.
    """
    named = None if source is None or str(source) == STDIO or is_url(source) else Path(source)
    if named is not None and (named.is_file() or named.is_dir() or not named.exists()):
        yield named
        return
    with tempfile.NamedTemporaryFile(prefix="phylocli-", suffix=".input") as copy:
        with recording_inputs(), open_input(source) as stream:  # discarded: the input is recorded when the copy is read
            shutil.copyfileobj(stream, copy)
        copy.flush()
        COPIES[copy.name] = display_name(source)
        try:
            yield Path(copy.name)
        finally:
            del COPIES[copy.name]


def read_text(source: PathLike | None) -> str:
    """Return the content of an input as text: decompressed, decoded as by `decode_text`, with `\n` line ends.

    Raises:
        BadInputError: see `open_input`; or the file is binary.
    """
    name = display_name(source)
    with open_input(source) as stream:
        return "\n".join(line for _, line in text_lines(stream, name))
