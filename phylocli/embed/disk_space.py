"""Does it fit on the disk? Asked before the work begins."""

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
"""Of one number as text, with the blank after it: nine digits, sign, point."""


FRAME_BYTES = 6_000
"""Of a Parquet or Arrow file without rows: schema, metadata, statistics."""


def forecast(survey: Survey, dimension: int, *, half: bool, per_residue: bool, format: TableFormat) -> int:
    """Return about how many bytes a table of embeddings will take, rather too many: numbers of this kind hardly compress.

    Args:
        survey: what will be embedded.
        dimension: features D.
        half: float16 instead of float32.
        per_residue: one row a residue.
        format: of the table.
    """
    rows = survey.residues if per_residue else survey.sequences
    text = format.endswith(("tsv", "csv"))
    value = TEXT_BYTES if text else 2 if half else 4
    ids = survey.id_letters
    if per_residue and text:  # every row repeats the id; Parquet and Arrow write most of them as numbers
        ids *= max(1, survey.residues // max(1, survey.sequences))
    return rows * (dimension * value + 8) + ids + (0 if text else FRAME_BYTES)


def free_bytes(path: PathLike) -> int:
    """Return how much may still be written where `path` will be."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def size(count: int) -> str:
    """Return a number of bytes for people.

    >>> size(12_300_000_000)
    '12.3 GB'
    """
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"


def check_space(path: PathLike, needed: int) -> None:
    """Say how large the output will be, and stop where it cannot fit.

    Raises:
        PhylocliError: more is needed than is free.
    """
    free = free_bytes(path)
    if needed > free:
        raise PhylocliError(
            f"{path} would take about {size(needed)}, and {size(free)} are free there",
            fix="write to another disk with -o, use --half, or leave out --per-residue",
        )
    (logger.info if needed > 1e9 else logger.debug)(f"{path} will take about {size(needed)} of {size(free)} free")
