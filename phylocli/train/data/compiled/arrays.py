"""A folder of arrays that are appended to while they are written and mapped into memory when they are read.

Each array is one file of little-endian numbers without a header; `manifest.json`, written last, contains their types and
checksums. Only the pages of a mapped array that are used occupy memory, and the system may release them again.
"""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from phylocli.core.errors import BadInputError

MANIFEST = "manifest.json"
_BLOCK = 1 << 22  # bytes processed at a time


class DamagedError(BadInputError):
    """A folder of arrays that does not match its manifest."""


class ArrayWriter:
    """Writes arrays of one dimension, a part at a time.

    Args:
        folder: that is there, and empty.
        kinds: type of each array by name.
    """

    def __init__(self, folder: Path, kinds: dict[str, str]) -> None:
        self.folder = folder
        self._kinds = {name: np.dtype(kind).newbyteorder("<") for name, kind in kinds.items()}
        self.sizes = dict.fromkeys(kinds, 0)
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Self:
        self._files = {name: path_of(self.folder, name).open("wb") for name in self._kinds}
        return self

    def append(self, name: str, values: npt.ArrayLike) -> int:
        """Append values to an array; return the place of the first."""
        first = self.sizes[name]
        part = np.ascontiguousarray(values, dtype=self._kinds[name])
        self._files[name].write(part.data)
        self.sizes[name] += len(part)
        return first

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for file in self._files.values():
            if kind is None:
                file.flush()
                os.fsync(file.fileno())
            file.close()

    def narrow(self, name: str, kind: str) -> None:
        """Rewrite an array in a smaller type, after the block has ended."""
        old, small = self._kinds[name], np.dtype(kind).newbyteorder("<")
        path = path_of(self.folder, name)
        part = path.with_suffix(".narrow")
        step = _BLOCK // old.itemsize
        with path.open("rb") as source, part.open("wb") as target:
            while len(values := np.fromfile(source, dtype=old, count=step)):
                target.write(values.astype(small).data)
        part.replace(path)
        self._kinds[name] = small

    def finish(self, about: dict[str, Any], also: tuple[str, ...] = ()) -> None:
        """Write the manifest, after the block has ended.

        Args:
            about: further metadata of the arrays.
            also: names of other files of the folder, to be checked with them.
        """
        arrays = {name: {"dtype": kind.str, "size": self.sizes[name]} for name, kind in self._kinds.items()}
        paths = [*(path_of(self.folder, name) for name in arrays), *(self.folder / name for name in also)]
        files = {path.name: {"bytes": path.stat().st_size, "crc32": checksum(path)} for path in paths}
        content = {**about, "arrays": arrays, "files": files}
        text = json.dumps({**content, "crc32": _content_checksum(content)}, indent=1)
        with (self.folder / MANIFEST).open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def path_of(folder: Path, name: str) -> Path:
    """Return the path of an array."""
    return folder / f"{name}.bin"


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file's bytes."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder of arrays.

    Raises:
        DamagedError: it cannot be read, or does not match its checksum.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        expected = content.pop("crc32")
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path) from error
    if _content_checksum(content) != expected:
        raise _damaged(path)
    return content


def _content_checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path} is damaged", why="its checksum does not match", fix="start again: the families are then recompiled"
    )


def verify(folder: Path) -> None:
    """Read every file once and compare it with the manifest.

    Raises:
        DamagedError: a file is missing, has another size or other bytes.
    """
    for name, entry in read_manifest(folder).get("files", {}).items():
        path = folder / name
        try:
            same = path.stat().st_size == entry["bytes"] and checksum(path) == entry["crc32"]
        except OSError as error:
            raise _damaged(path) from error
        if not same:
            raise _damaged(path)


def mapped(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a folder, mapped into memory, read-only.

    Raises:
        DamagedError: one is missing or too short.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    for name, entry in read_manifest(folder)["arrays"].items():
        kind, size = np.dtype(entry["dtype"]), entry["size"]
        # Nothing cannot be mapped; and plain arrays are cut up faster than those of the class memmap.
        try:
            whole = np.memmap(path_of(folder, name), kind, "r", shape=(size,)) if size else np.zeros(0, kind)
        except (OSError, ValueError) as error:
            raise _damaged(path_of(folder, name)) from error
        found[name] = whole.view(np.ndarray)
    return found
