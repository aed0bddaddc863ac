"""Results of an interrupted command on disk: the same command, run again, continues with them.

One file of lines: the name of the format; then the key of a piece, a checksum, and the result as text, compressed. The last
line may be incomplete, where the process was killed. The file is removed when the output is complete. The command that uses
it holds a lock on it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from phylocli.core.errors import UsageError
from phylocli.formats.streams import locks

logger = logging.getLogger(__name__)

MAGIC = b"phylocli journal 1\n"
"""The first line, by which a journal is told from a file of the user."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Journal(Generic[Argument, Result]):
    """Results by the content of their piece.

    Args:
        path: the file.
        identify: text on which the result depends; equal texts have equal results.
        encode: writes a result as text.
        decode: reads it.
    """

    def __init__(
        self,
        path: Path,
        *,
        identify: Callable[[Argument], str],
        encode: Callable[[Result], str],
        decode: Callable[[str], Result],
    ) -> None:
        self._path = path
        self._identify, self._encode, self._decode = identify, encode, decode
        self._places: dict[bytes, tuple[int, int]] = {}
        self._file: BinaryIO | None = None
        self._created = False  # by this command
        self._used = 0

    @contextlib.contextmanager
    def opened(self) -> Iterator[Journal[Argument, Result]]:
        """Read what an earlier command left; remove the file at the end, unless an error or a signal interrupts it.

        Raises:
            UsageError: the file is not a journal, or another command uses it.
        """
        complete = False
        self._scan()
        found = len(self._places)
        try:
            yield self
            complete = True
            if found:
                logger.info(f"{self._used:,} of {found:,} results of an interrupted run were used: {self._path}")
        except UsageError:
            complete = self._created  # the same command cannot continue, but another may have left the file
            raise
        finally:
            if complete and self._file is not None:  # while it is locked: later, another command may use it
                self._path.unlink(missing_ok=True)
            if self._file is not None:
                self._file.close()
                self._file = None

    @property
    def used(self) -> int:
        """Number of recorded results that were used instead of computing them."""
        return self._used

    def key(self, argument: Argument) -> bytes:
        """Return the key of a piece."""
        return hashlib.sha256(self._identify(argument).encode()).hexdigest().encode()

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    def get(self, key: bytes) -> Result | None:
        """Return a recorded result, or None."""
        place = self._places.get(key)
        if place is None or self._file is None:
            return None
        if not self._used:
            logger.info(f"continuing with results of an interrupted run: {self._path}")
        self._used += 1
        self._file.seek(place[0])
        return self._decode(zlib.decompress(base64.b64decode(self._file.read(place[1]))).decode())

    def put(self, key: bytes, result: Result) -> None:
        """Record a result."""
        data = base64.b64encode(zlib.compress(self._encode(result).encode(), 1))
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                created = self._path.open("x+b")
            except FileExistsError as error:
                raise self._in_use() from error
            self._file = self._locked(created)
            self._created = True
        if self._file.seek(0, os.SEEK_END) == 0:
            self._file.write(MAGIC)
        self._file.write(b"%s %s %s\n" % (key, _checksum(data), data))
        self._file.flush()

    def find(self, argument: Argument) -> Result | None:
        """Return the recorded result of a piece, or None."""
        return self.get(self.key(argument))

    def add(self, argument: Argument, result: Result) -> None:
        """Record the result of a piece."""
        self.put(self.key(argument), result)

    def _scan(self) -> None:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            start = file.read(len(MAGIC))
        if not MAGIC.startswith(start):
            raise UsageError(
                f"{self._path} is not of an interrupted run of this version",
                why="finished results would be kept in a file of this name until the output is complete",
                fix="move it away, or name another output",
            )
        self._file = self._locked(self._path.open("r+b"))
        if self._file.read(len(MAGIC)) != MAGIC:  # the process was killed at once
            self._file.truncate(0)
            return
        self._file.seek(len(MAGIC))
        end = len(MAGIC)
        for line in self._file:
            parts = line.split(b" ")
            if not line.endswith(b"\n") or len(parts) != 3 or _checksum(parts[2][:-1]) != parts[1]:
                break  # the process was killed here
            self._places[parts[0]] = end + len(parts[0]) + len(parts[1]) + 2, len(parts[2]) - 1
            end += len(line)
        self._file.truncate(end)

    def _locked(self, file: BinaryIO) -> BinaryIO:
        """Return the file, locked until it is closed.

        Raises:
            UsageError: another command has locked it, or has just removed it.
        """
        if locks.locked(file, self._path):
            return file
        file.close()
        raise self._in_use()

    def _in_use(self) -> UsageError:
        return UsageError(f"another command writes {self._path}", fix="wait until it has ended, or name another output")


def _checksum(data: bytes) -> bytes:
    return b"%08x" % zlib.crc32(data)
