"""Records of the inputs that a command reads, for its provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from phylocli.formats.streams.paths import PathLike


@dataclass
class InputRecord:
    """An input that a command has read: name, and size in bytes and SHA-256 before decompression."""

    name: str
    bytes: int
    sha256: str


@dataclass
class _Recorder:
    inputs: list[InputRecord] = field(default_factory=list)


active_recorder: ContextVar[_Recorder | None] = ContextVar("phylocli_inputs", default=None)


@contextmanager
def recording_inputs() -> Iterator[list[InputRecord]]:
    """Collect an `InputRecord` for every input that is read within the block."""
    recorder = _Recorder()
    token = active_recorder.set(recorder)
    try:
        yield recorder.inputs
    finally:
        active_recorder.reset(token)


def recorded_inputs() -> list[InputRecord]:
    """Return the inputs read so far in the enclosing `recording_inputs` block, or an empty list outside one."""
    recorder = active_recorder.get()
    return list(recorder.inputs) if recorder else []


def note_input(path: PathLike) -> None:
    """Record a file that is not read by `open_input` (a Parquet table, a model); the file is hashed."""
    recorder = active_recorder.get()
    if recorder is not None and Path(path).is_file():
        file = Path(path)
        recorder.inputs.append(InputRecord(str(path), file.stat().st_size, file_sha256(file)))


def record_input(record: InputRecord) -> None:
    """Record an input that was hashed elsewhere."""
    recorder = active_recorder.get()
    if recorder is not None:
        recorder.inputs.append(record)


def file_sha256(path: PathLike) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
