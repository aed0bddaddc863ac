"""A folder of one-dimensional arrays, written incrementally and memory-mapped for reading.

Each array is a file of little-endian numbers without a header. `manifest.json`, written last, contains types, sizes and
checksums.
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
    """Writes one-dimensional arrays incrementally.

    Args:
        folder: an existing, empty folder.
        kinds: type of each array, by name.
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
        """Append values to an array and return the index of the first."""
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
        """Convert an array to a smaller type; call after the block has ended."""
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
        """Write the manifest; call after the block has ended.

        Args:
            about: further metadata.
            also: names of other files of the folder to include in the checksums.
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
    """Return the path of an array's file."""
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
        DamagedError: the manifest cannot be read, or its checksum does not match.
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
        f"{path} is damaged", why="its checksum does not match", fix="run the command again to recompile the families"
    )


def verify(folder: Path, *, content: bool = True) -> None:
    """Check the size and checksum of every file against the manifest.

    Args:
        folder: of arrays.
        content: False checks the sizes only.

    Raises:
        DamagedError: a file is missing, or its size or checksum does not match.
    """
    for name, entry in read_manifest(folder).get("files", {}).items():
        path = folder / name
        try:
            same = path.stat().st_size == entry["bytes"] and not (content and checksum(path) != entry["crc32"])
        except OSError as error:
            raise _damaged(path) from error
        if not same:
            raise _damaged(path)


def mapped(folder: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a folder, memory-mapped and read-only.

    Raises:
        DamagedError: a file is missing or too short.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    for name, entry in read_manifest(folder)["arrays"].items():
        kind, size = np.dtype(entry["dtype"]), entry["size"]
        # Empty files cannot be mapped. Views as plain arrays, because slicing a memmap is slower.
        try:
            whole = np.memmap(path_of(folder, name), kind, "r", shape=(size,)) if size else np.zeros(0, kind)
        except (OSError, ValueError) as error:
            raise _damaged(path_of(folder, name)) from error
        found[name] = whole.view(np.ndarray)
    return found
