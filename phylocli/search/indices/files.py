"""Indices in files beside a table, each with a record of the table that it was made from, and of its recall."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import file_sha256, write_text
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.evalues import sample_rows
from phylocli.search.exact import nearest

logger = logging.getLogger(__name__)

FORMAT = 2
"""Version of the indices and their records; those of another one are made again."""

CHECKED = 200
"""Number of rows used to measure the recall of an index."""

CHECKED_K = 20
"""Number of neighbours per row for the recall."""


def index_path(table: EmbeddingTable, suffix: str) -> Path:
    """Return the path of an index: that of the table with a further suffix."""
    path = Path(table.name)
    path = path if path.name not in ("", "..") else path.resolve()
    return path.with_name(f"{path.name}.{suffix}")


def recorded_recall(path: Path, table: EmbeddingTable, checksum: Callable[[Path], str] = file_sha256) -> float | None:
    """Return the recall of an index that exists, is sound and belongs to the table, else None.

    Args:
        path: of the index.
        table: the table.
        checksum: of the index: of all of it, or of a part that takes less time.
    """
    record = _record(path)
    if not (path.is_file() and record.is_file()):
        return None
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["table"].get("format") == FORMAT and known.pop("check") != _check(known):
            raise ValueError("the checksum of its record does not match")
        if known["table"] != _identity(table):
            logger.info(f"{path} belongs to another table and will be rebuilt")
            return None
        recall, size = float(known["recall"]), int(known["bytes"])
        different = "size" if size != path.stat().st_size else "checksum" if known["sha256"] != checksum(path) else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report_damage(path, error)
        return None
    if different:
        report_damage(path, f"its {different} does not match")
        return None
    report_recall(path, recall)
    return recall


def report_recall(path: Path, recall: float) -> None:
    """Log the recall of an index."""
    logger.info(f"{path}: finds {recall:.1%} of the true {CHECKED_K} nearest")


def report_damage(path: Path, why: Exception | str) -> None:
    """Log that an index cannot be used."""
    logger.warning(f"{path} is damaged and will be rebuilt ({str(why).splitlines()[0] if str(why) else 'empty'})")


def write_record(
    path: Path, part: Path, table: EmbeddingTable, recall: float, checksum: Callable[[Path], str] = file_sha256
) -> None:
    """Write the record of a new index before its file is renamed, so that a killed run leaves no old record of a new file.

    Args:
        path: of the index.
        part: its complete file, under the temporary name; the lock on it is held.
        table: the table.
        recall: of the index.
        checksum: see `recorded_recall`.
    """
    about = {"table": _identity(table), "recall": recall, "bytes": part.stat().st_size, "sha256": checksum(part)}
    write_text(_record(path), json.dumps({**about, "check": _check(about)}, indent=2) + "\n")
    report_recall(path, recall)


def measured_recall(table: EmbeddingTable, search: Callable[[FloatArray, int], IntArray]) -> float:
    """Return the fraction of the true nearest rows that an index finds, for a sample of the rows of its table.

    Args:
        table: the table.
        search: returns the row numbers (n, k) for n queries.
    """
    queries = table.take(sample_rows(len(table), CHECKED))
    k = min(CHECKED_K, len(table))
    true, found = nearest(queries, table, k).rows, search(queries, k)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(true.tolist(), found.tolist(), strict=True)]))


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _identity(table: EmbeddingTable) -> dict[str, object]:
    """Return what an index of a table is made from, as values that JSON has, since it is compared with a record."""
    return {
        **table.metadata,
        "format": FORMAT,
        "rows": len(table),
        "dimension": table.dimension,
        "column": table.column,
        "ids": _digest("\n".join(table.ids).encode()),
        "files": [_state(path) for path in table.files],
        "vectors": None if table.files or table.vectors is None else _digest(np.ascontiguousarray(table.vectors).data),
    }


def _state(path: Path) -> list[object]:
    """Return size, time of modification and a checksum of the footer of a Parquet file.

    A checksum of the whole file would take longer than a search of its codes, which are smaller.
    """
    found = path.stat()
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-min(length + 8, found.st_size), os.SEEK_END)
        return [found.st_size, found.st_mtime_ns, _digest(file.read())]


def _check(record: dict[str, object]) -> str:
    return _digest(json.dumps(record, sort_keys=True).encode())


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
