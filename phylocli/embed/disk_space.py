"""Estimated size of the output and free disk space, checked before the work begins."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from phylocli.core.errors import PhylocliError
from phylocli.embed.inputs import Survey
from phylocli.formats.streams import PathLike
from phylocli.formats.tables import TableFormat

logger = logging.getLogger(__name__)

TEXT_BYTES = 12
"""Bytes of one number as text with a separator: nine digits, sign, point."""


FRAME_BYTES = 6_000
"""Bytes of a Parquet or Arrow file without rows: schema, metadata, statistics."""


def forecast(survey: Survey, dimension: int, *, half: bool, per_residue: bool, format: TableFormat) -> int:
    """Return approximately the size of a table of embeddings in bytes, an upper estimate, since embeddings hardly compress.

    Args:
        survey: the sequences to embed.
        dimension: features D.
        half: float16 instead of float32.
        per_residue: one row per residue.
        format: of the table.
    """
    residue_rows = survey.residues if survey.rows is None else survey.rows
    rows = residue_rows if per_residue else survey.sequences
    text = format.endswith(("tsv", "csv"))
    value = TEXT_BYTES if text else 2 if half else 4
    ids = survey.id_letters
    if per_residue and text:  # every row repeats the id; Parquet and Arrow store most of them as numbers
        ids *= max(1, residue_rows // max(1, survey.sequences))
    return rows * (dimension * value + 8) + ids + (0 if text else FRAME_BYTES)


def free_bytes(path: PathLike) -> int:
    """Return the free space at the location of `path`, in bytes."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def size(count: int) -> str:
    """Return a human-readable number of bytes.

    >>> size(12_300_000_000)
    '12.3 GB'
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def check_space(path: PathLike, needed: int) -> None:
    """Log the size of the output, and stop if it does not fit.

    Raises:
        PhylocliError: more space is needed than is free.
    """
    free = free_bytes(path)
    if needed > free:
        raise PhylocliError(
            f"{path} needs about {size(needed)}, but only {size(free)} are free",
            fix="write to another disk with -o, use --half, or leave out --per-residue",
        )
    (logger.info if needed > 1e9 else logger.debug)(f"{path} needs about {size(needed)}; {size(free)} are free")
