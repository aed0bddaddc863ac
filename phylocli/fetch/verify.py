"""Verification of downloaded records: complete, of the requested family, with the declared number of rows."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.streams import text_lines
from phylocli.store.integrity import FETCH_AGAIN, check_family, check_profile

_GZIP = b"\x1f\x8b"
_HTML = (b"<!doctype html", b"<html")


class _Unpacked(io.RawIOBase):
    """A raw stream of decompressed bytes with a maximum size; damaged data raise a `BadInputError`."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._left = limit
        self._limit = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read1(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadInputError(f"the compressed data are damaged or truncated ({error})", fix=FETCH_AGAIN) from error
        self._left -= len(data)
        if self._left < 0:
            raise BadInputError(f"the data decompress to more than {self._limit:,} bytes", fix=FETCH_AGAIN)
        buffer[: len(data)] = data
        return len(data)


def unpacked(packed: BinaryIO, limit: int) -> BinaryIO:
    """Return a stream of decompressed bytes; up to two gzip layers are removed (a gzip file in a gzip Content-Encoding).

    Args:
        packed: an open stream of bytes.
        limit: maximum number of decompressed bytes.

    Raises:
        BadInputError: raised on reading, if the data are damaged, truncated or larger than `limit`.
    """
    stream: Any = io.BufferedReader(cast(Any, packed), 1 << 16) if not hasattr(packed, "peek") else packed
    for _ in range(2):
        if stream.peek(2)[:2] != _GZIP:
            break
        inner = gzip.GzipFile(fileobj=stream, mode="rb")
        stream = io.BufferedReader(_Unpacked(inner, limit), 1 << 16)
    else:
        return cast(BinaryIO, stream)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, limit), 1 << 16))


def is_empty_object(stream: BinaryIO) -> bool:
    """Return whether a body is `{}`, InterPro's response for an unknown accession."""
    return cast(Any, stream).peek(64)[:64].strip() == b"{}"


def _refuse_html(stream: BinaryIO, name: str) -> None:
    if cast(Any, stream).peek(64)[:64].lstrip().lower().startswith(_HTML):
        raise BadInputError(f"{name} is an HTML page", fix=FETCH_AGAIN)


def read_alignment(stream: BinaryIO, accession: str | None, name: str) -> Family:
    """Parse and verify a body that contains one family.

    Args:
        stream: decompressed bytes, from `unpacked`.
        accession: the requested accession, without version; None: any.
        name: the name of the body in messages.

    Raises:
        BadInputError: the body is not exactly one complete Stockholm record, is another family, or the number of rows
            differs from `SQ`.
    """
    _refuse_html(stream, name)
    records = stockholm.parse(text_lines(stream, name), name)
    family = next(records, None)
    if family is None:
        raise BadInputError(f"{name} is empty", fix=FETCH_AGAIN)
    if next(records, None) is not None:
        raise BadInputError(f"{name} contains more than one record", fix=FETCH_AGAIN)
    check_family(family, accession, name)
    return family


def read_profile(stream: BinaryIO, accession: str | None, name: str) -> bytes:
    """Verify a decompressed body that contains one profile HMM; return it as text in HMMER3 format.

    Raises:
        BadInputError: the body is not exactly one complete profile, is of another family, or the number of nodes differs
            from `LENG`.
    """
    _refuse_html(stream, name)
    text = stream.read()
    check_profile(text, accession, name)
    return text
