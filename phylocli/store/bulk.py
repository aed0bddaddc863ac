"""Bulk writing: records are flushed to disk together, then renamed together."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from phylocli.formats.family import Family
from phylocli.formats.provenance import Record, sidecar_path
from phylocli.formats.stockholm import write_family
from phylocli.store.names import checked, family_path, profile_path


@contextmanager
def staged(root: Path, name: str, lock: Callable[[], AbstractContextManager[None]]) -> Iterator[Bulk]:
    """Yield a writer for many records; see `Store.bulk`."""
    staging = root / "staging" / checked(name)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    writer = Bulk(root, staging, lock)
    try:
        yield writer
    finally:
        writer.flush()
        shutil.rmtree(staging, ignore_errors=True)


class Bulk:
    """Writes many records of a store, flushed to disk together, then renamed together; see `Store.bulk`."""

    _FILES = 2048
    _BYTES = 1 << 26
    _THREADS = 32

    def __init__(self, root: Path, staging: Path, lock: Callable[[], AbstractContextManager[None]]) -> None:
        self._root = root
        self._lock = lock
        self._staging = staging
        self._waiting: list[tuple[Path, Path]] = []
        self._size = 0

    def family(self, family: Family, sidecar: Record) -> None:
        """Write a family's record; `sidecar` is complete except for the checksum."""
        self.record(family.accession or family.name, packed(family), sidecar)

    def record(self, accession: str, data: bytes, sidecar: Record) -> None:
        """Write a family's record, as `packed` returns it."""
        self._add(family_path(self._root, accession), data, sidecar)

    def profile(self, accession: str, text: bytes, sidecar: Record) -> None:
        """Write a family's HMM; `sidecar` is complete except for the checksum."""
        self._add(profile_path(self._root, accession), text, sidecar)

    def _add(self, path: Path, data: bytes, sidecar: Record) -> None:
        record = {**sidecar, "output": {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}}
        self._stage(path, data)
        self._stage(sidecar_path(path), (json.dumps(record, indent=2, default=str) + "\n").encode())
        if len(self._waiting) >= self._FILES or self._size >= self._BYTES:
            self.flush()

    def _stage(self, path: Path, data: bytes) -> None:
        part = self._staging / f"{len(self._waiting)}.part"
        part.write_bytes(data)
        self._waiting.append((part, path))
        self._size += len(data)

    def flush(self) -> None:
        """Move everything written so far into place."""
        if not self._waiting:
            return
        # From many threads at once, so that the file system can commit many files together.
        with ThreadPoolExecutor(max_workers=self._THREADS) as pool:
            list(pool.map(_to_disk, (part for part, _ in self._waiting)))
        with self._lock():
            for folder in {path.parent for _, path in self._waiting}:
                folder.mkdir(parents=True, exist_ok=True)
            for part, path in self._waiting:
                part.replace(path)
        self._waiting.clear()
        self._size = 0


def packed(family: Family) -> bytes:
    """Return the content of a family's file in the store."""
    text = io.StringIO()
    write_family(family, text)
    data = io.BytesIO()
    # As `streams.open_output` writes `.gz`: a record has the same bytes however it was written.
    with gzip.GzipFile(filename="", fileobj=data, mode="wb", compresslevel=6, mtime=0) as stream:
        stream.write(text.getvalue().encode())
    return data.getvalue()


def _to_disk(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
