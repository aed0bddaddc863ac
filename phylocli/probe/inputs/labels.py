"""Reading of labels tables, and of other sources that `probe.labels` converts to a table."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from phylocli.config.labels import MakeLabelsConfig
from phylocli.core.errors import UsageError
from phylocli.formats.streams import PathLike, display_name
from phylocli.formats.tables.columns import ColumnOptions, Taken
from phylocli.probe.inputs.label_types import MUTATION_COLUMNS
from phylocli.probe.labels.collected import SEQUENCE, Labels
from phylocli.probe.labels.sources import read_source
from phylocli.probe.labels.tables import with_ids

if TYPE_CHECKING:
    import polars as pl

logger = logging.getLogger(__name__)

SEQUENCE_COLUMNS = ("sequence", "mutated_sequence")


def read_labels(source: PathLike | pl.DataFrame, options: ColumnOptions = ColumnOptions()) -> pl.DataFrame:
    """Read a labels table; see `read_label_table`."""
    return read_label_table(source, options)[0]


def labels_name(source: PathLike | pl.DataFrame) -> str:
    """Return the name of a labels table for messages."""
    import polars as pl

    return "labels" if isinstance(source, pl.DataFrame) else display_name(source)


def read_label_table(
    source: PathLike | pl.DataFrame, options: ColumnOptions = ColumnOptions(), *, more: Sequence[str] = ()
) -> tuple[pl.DataFrame, Taken]:
    """Read a labels table, whose column of ids is renamed to `id` and converted to text.

    Family records, FASTA headers, GO annotations and UniProt exports are converted to a table, see `probe.labels`; their
    sequences, if any, are in the column `sequence`. Types of columns are determined later, by `label_types.read_column`.

    Args:
        source: path of a file, `-` for standard input, or a polars frame.
        options: the user's options for columns.
        more: names of optional columns to append; skipped if all their values are missing.

    Returns:
        The table, and the column of ids.

    Raises:
        BadInputError: the source is not a table, has no ids, an id occurs twice, or there is no other column.
        UsageError: a column named in `options` does not exist.
    """
    import polars as pl

    name = labels_name(source)
    if isinstance(source, pl.DataFrame):
        read: Labels | pl.DataFrame = source
    else:
        read = read_source(source, MakeLabelsConfig(pattern=options.pattern))
    if isinstance(read, Labels):
        wanted = [column for column in (*options.labels, *options.classes, *options.quantities) if column in read.frame]
        usual = read.select((), name).columns[1:] if not options.labels or not wanted else []
        frame, chosen = read.select(list(dict.fromkeys([*usual, *wanted])), name), Taken("id", "ids", read.how)
        added = [c for c in more if c in read.frame.columns and c not in frame.columns and read.frame[c].count()]
        frame = frame.with_columns(read.frame.get_column(column) for column in added)
        if SEQUENCE in read.frame.columns:
            frame = frame.with_columns(read.frame[SEQUENCE])
    else:
        frame, chosen = with_ids(read, name, options, MUTATION_COLUMNS)  # ProteinGym's ids are the mutations
    for column in (*options.classes, *options.quantities):
        if column not in frame.columns:
            raise UsageError(f"{name} has no column {column!r}", fix=f"its columns are {', '.join(frame.columns)}")
    logger.debug(f"{name}: {frame.height:,} rows, ids in {chosen.column!r} ({chosen.why})")
    return _with_sequence(frame), chosen


def _with_sequence(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with a column `sequence`, renamed from `Sequence` or, as in ProteinGym, `mutated_sequence`."""
    by_lower = {column.lower(): column for column in frame.columns}
    found = next((by_lower[name] for name in SEQUENCE_COLUMNS if name in by_lower), None)
    return frame if found in (None, "sequence") else frame.rename({found: "sequence"})
