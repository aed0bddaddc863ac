"""Decoding of text files."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError
from phylocli.formats.streams.paths import STDIO, PathLike, is_url, without_secrets

_BINARY_MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF document",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive (or a spreadsheet)",
    b"\x7fELF": "a program",
    b"PAR1": "a Parquet table",
    b"ARROW1": "an Arrow table",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a file compressed twice",
    b"\x28\xb5\x2f\xfd": "a file compressed twice",
    b"\xfd7zXZ\0": "a file compressed twice",
    b"BZh9": "a file compressed twice",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x1f\x9d": "a file compressed by 'compress'",
    b"\x04\x22\x4d\x18": "a file compressed by LZ4",
}


COPIES: dict[str, str] = {}
"""Path of a temporary copy (see `at_rest`) → name of the input in messages."""


def display_name(source: PathLike | None) -> str:
    """Return the name of an input in messages: its path, its URL without secrets, or `standard input`."""
    if source is None or str(source) == STDIO:
        return "standard input"
    name = decode_text(os.fsencode(source))  # file names are bytes in any encoding
    return COPIES.get(name, without_secrets(name) if is_url(name) else name)


def _as_windows_1252(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as Windows-1252; the five bytes undefined there, as Latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    data = error.object[error.start : error.end]
    return "".join(bytes([b]).decode("cp1252" if b not in _CP1252_GAPS else "latin-1") for b in data), error.end


_CP1252_GAPS = b"\x81\x8d\x8f\x90\x9d"
_FALLBACK = "phylocli.windows-1252"
codecs.register_error(_FALLBACK, _as_windows_1252)


def _encoding(head: bytes) -> tuple[str, str]:
    """Return the encoding and error handler for text that starts with the bytes `head`."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "strict"
    return "utf-8-sig", _FALLBACK


def decode_text(data: bytes, name: str = "the text") -> str:
    """Decode bytes to text; every text file is decoded like this.

    The encoding is UTF-8, or UTF-16 if there is a byte-order mark; bytes that are not UTF-8 are decoded as Windows-1252
    (Latin-1). A byte-order mark is removed. Line ends are unchanged.

    Raises:
        BadInputError: the UTF-16 data are invalid.
    """
    try:
        return data.decode(*_encoding(data[:2]))
    except UnicodeDecodeError as error:
        raise _not_utf16(name, error) from error


def decode_head(head: bytes) -> str:
    """Decode the first bytes of a file, which may end within a character; line ends become `\\n`."""
    encoding, errors = _encoding(head[:2])
    text = head.decode(encoding, "replace" if errors == "strict" else errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


LONGEST_LINE = 1 << 28
"""Maximum length of a line in bytes, which bounds memory. Sequences, alignment rows and trees are shorter."""


class _Lines(io.BufferedIOBase):
    """Passes bytes through; raises an error for a line longer than `LONGEST_LINE`."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        self._length = 0  # bytes of the current line so far

    def readable(self) -> bool:
        return True

    def read1(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read1(size)
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        self._length = len(data) - end if end else self._length + len(data)
        if self._length > LONGEST_LINE:
            raise BadInputError(
                f"{self._name} has a line of more than {LONGEST_LINE >> 20} MB",
                why="no sequence, alignment row or tree is that long",
                fix="check that this is a text file with valid line ends",
            )
        return data


def binary_kind(head: bytes) -> str | None:
    """Return a description of the binary format of a file from its first bytes (tar: at least 262); None if unknown."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _BINARY_MAGIC.items() if head.startswith(magic)), None)


def text_stream(stream: BinaryIO, name: str) -> io.TextIOWrapper:
    """Return a text stream of decompressed bytes, decoded as by `decode_text`; all line ends are read as `\n`.

    Raises:
        BadInputError: the bytes are not text (a picture, a table, an archive).
    """
    peekable = stream if hasattr(stream, "peek") else io.BufferedReader(cast(Any, stream))
    head = cast(Any, peekable).peek(512)[:512]
    if kind := binary_kind(head):
        raise BadInputError(f"{name} is {kind}, not a text file", fix="check the path")
    encoding, errors = _encoding(head)
    return io.TextIOWrapper(cast(Any, _Lines(peekable, name)), encoding=encoding, errors=errors)


def text_lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without line end) from decompressed bytes, decoded as by `decode_text`.

    Line ends may be `\n`, `\r\n` or `\r`.

    Raises:
        BadInputError: the bytes are not text (a picture, a table, zero bytes).
    """
    text = text_stream(stream, name)
    try:
        for number, line in enumerate(text, 1):
            if "\0" in line:
                raise BadInputError(
                    f"{name}, line {number}: contains zero bytes; this is not a text file",
                    fix="check the path, or write the file again",
                )
            yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise _not_utf16(name, error) from error
    finally:
        with contextlib.suppress(ValueError):  # already closed
            text.detach()


def _not_utf16(name: str, error: UnicodeDecodeError) -> BadInputError:
    return BadInputError(
        f"{name} is not valid UTF-16, though its byte-order mark says so", why=error.reason, fix="save it as UTF-8"
    )
