"""Verification of answers: complete, of the family that was asked for, with the declared number of rows."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, BinaryIO, cast

from phylocli.core.errors import BadInputError
from phylocli.formats import stockholm
from phylocli.formats.family import Family
from phylocli.formats.streams import text_lines
from phylocli.store.integrity import check_family, check_profile

_GZIP = b"\x1f\x8b"
_HTML = (b"<!doctype html", b"<html")


class _Unpacked(io.RawIOBase):
    """Reads through to a decompressor, with a cap on what comes out and damage told in one way."""

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
            raise BadInputError(f"the compressed data are damaged or end too early ({error})") from error
        self._left -= len(data)
        if self._left < 0:
            raise BadInputError(f"the data unpack to more than {self._limit:,} bytes")
        buffer[: len(data)] = data
        return len(data)


def unpacked(packed: BinaryIO, limit: int) -> BinaryIO:
    """Return a stream of the bytes within, decompressed as often as they are gzip (a file, within a Content-Encoding).

    Args:
        packed: an open stream of bytes.
        limit: the most bytes that may come out.

    Raises:
        BadInputError: on reading: damaged, cut short, or more than `limit`.
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
    """Return whether a body is `{}`, which is how InterPro answers for an accession that it does not know."""
    return cast(Any, stream).peek(64)[:64].strip() == b"{}"


def _refuse_html(stream: BinaryIO, name: str) -> None:
    if cast(Any, stream).peek(64)[:64].lstrip().lower().startswith(_HTML):
        raise BadInputError(f"{name} is an HTML page")


def read_alignment(stream: BinaryIO, accession: str | None, name: str) -> Family:
    """Return the one family of a decompressed body.

    Args:
        stream: bytes, as `unpacked` gives them.
        accession: the accession that was asked for, without a version; None accepts any.
        name: how messages call the body.

    Raises:
        BadInputError: not one whole Stockholm record, another family, or not as many rows as `SQ` says.
    """
    _refuse_html(stream, name)
    records = stockholm.parse(text_lines(stream, name), name)
    family = next(records, None)
    if family is None:
        raise BadInputError(f"{name} is empty")
    if next(records, None) is not None:
        raise BadInputError(f"{name} holds more than one record")
    check_family(family, accession, name)
    return family


def read_profile(stream: BinaryIO, accession: str | None, name: str) -> bytes:
    """Return the one HMM of a decompressed body as text in HMMER3's format.

    Raises:
        BadInputError: not one whole profile, of another family, or not as many nodes as `LENG` says.
    """
    _refuse_html(stream, name)
    text = stream.read()
    check_profile(text, accession, name)
    return text
