"""Compression: gzip, zstd, bzip2 and xz."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from typing import Any, BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def compressor(stream: BinaryIO, name: str) -> BinaryIO:
    """Return a stream that compresses in the format of the suffix of `name`; without such a suffix, `stream` itself."""
    name = name.lower()
    if name.endswith(".gz"):
        # No name and time in the header, so that the output is reproducible.
        return cast(BinaryIO, gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=6, mtime=0))
    if name.endswith(".zst"):
        return cast(BinaryIO, zstd.ZstdFile(cast(Any, stream), "w"))
    if name.endswith(".bz2"):
        return cast(BinaryIO, bz2.BZ2File(stream, "wb"))
    if name.endswith(".xz"):
        return cast(BinaryIO, lzma.LZMAFile(stream, "wb"))
    return stream


__all__ = ["compressor", "zstd"]
