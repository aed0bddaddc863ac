"""Bytes to text: one decoder for every text file."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError
from phylocli.formats.streams.paths import STDIO, PathLike

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
"""Names of inputs in messages, by the paths of their copies, for inputs that can be read only once."""


def display_name(source: PathLike | None) -> str:
    """Return how messages call an input: its path, or `standard input`."""
    if source is None or str(source) == STDIO:
        return "standard input"
    name = decode_text(os.fsencode(source))  # names of files are bytes, of any encoding
    return COPIES.get(name, name)


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
    """Return the text of bytes, the only decoding function for text.

    UTF-8, or UTF-16 if there is a byte-order mark; bytes that are not UTF-8 are Windows-1252 (Latin-1). A byte-order mark is
    dropped. Line ends are unchanged.

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


LONGEST_LINE = 1 << 28
"""Maximum number of bytes in a line. Sequences, rows of alignments and trees are shorter; other data would fill memory."""


class _Lines(io.BufferedIOBase):
    """Passes bytes on while no line is longer than `LONGEST_LINE`."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        self._length = 0  # of the line so far

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
    """Return what a binary file is that starts with these bytes (262 or more for tar), None for another."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    return next((kind for magic, kind in _BINARY_MAGIC.items() if head.startswith(magic)), None)


def text_stream(stream: BinaryIO, name: str) -> io.TextIOWrapper:
    """Return decompressed bytes as a text stream, decoded as `decode_text` does, any line end read as `\n`.

    Raises:
        BadInputError: the bytes are no text (a picture, a table, an archive).
    """
    peekable = stream if hasattr(stream, "peek") else io.BufferedReader(cast(Any, stream))
    head = cast(Any, peekable).peek(512)[:512]
    if kind := binary_kind(head):
        raise BadInputError(f"{name} is {kind}, not a text file", fix="check the path")
    encoding, errors = _encoding(head)
    return io.TextIOWrapper(cast(Any, _Lines(peekable, name)), encoding=encoding, errors=errors)


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
                    f"{name}, line {number}: contains zero bytes; this is not a text file",
                    fix="check the path, or write the file again",
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
