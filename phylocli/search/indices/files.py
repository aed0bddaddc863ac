"""Indices in files beside a table, each with a record of the table that it was made from, and of its recall."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import file_sha256, write_text
from phylocli.search.database import FloatArray, IntArray
from phylocli.search.evalues import sample_rows
from phylocli.search.exact import nearest

logger = logging.getLogger(__name__)

CHECKED = 200
"""Number of rows used to measure the recall of an index."""

CHECKED_K = 20
"""Number of neighbours per row for the recall."""


def index_path(table: EmbeddingTable, suffix: str) -> Path:
    """Return the path of an index: that of the table with a further suffix."""
    path = Path(table.name)
    return path.with_name(f"{path.name}.{suffix}")


def recorded_recall(path: Path, table: EmbeddingTable, *, hashed: bool = True) -> float | None:
    """Return the recall of an index that exists and belongs to the table, else None.

    Args:
        path: of the index.
        table: the table.
        hashed: whether its checksum is compared, which takes reading all of it; otherwise, only its size.
    """
    record = _record(path)
    if not (path.is_file() and record.is_file()):
        return None
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["table"] != _identity(table):
            logger.info(f"{path} belongs to another table and will be rebuilt")
            return None
        sound = known.get("sha256") == file_sha256(path) if hashed else known.get("bytes") == path.stat().st_size
        recall = float(known["recall"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        report_damage(path, error)
        return None
    if not sound:
        what = "its checksum does not match" if hashed else "its size does not match"
        logger.warning(f"{path} is damaged ({what}) and will be rebuilt")
        return None
    report_recall(path, recall)
    return recall


def report_recall(path: Path, recall: float) -> None:
    """Log the recall of an index."""
    logger.info(f"{path}: finds {recall:.1%} of the true {CHECKED_K} nearest")


def report_damage(path: Path, error: Exception) -> None:
    """Log that an index cannot be used."""
    logger.warning(f"{path} is damaged and will be rebuilt ({str(error).splitlines()[0] if str(error) else 'empty'})")


def write_record(path: Path, table: EmbeddingTable, recall: float, *, hashed: bool = True) -> None:
    """Write the record of a new index; for the arguments see `recorded_recall`."""
    check = {"sha256": file_sha256(path)} if hashed else {"bytes": path.stat().st_size}
    about = {"table": _identity(table), "recall": recall, **check}
    write_text(_record(path), json.dumps(about, indent=2) + "\n")
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
    ids = hashlib.blake2b("\n".join(table.ids).encode(), digest_size=16).hexdigest()
    sizes = [path.stat().st_size for path in table.files]
    return {"rows": len(table), "dimension": table.dimension, "ids": ids, "bytes": sizes, **table.metadata}
