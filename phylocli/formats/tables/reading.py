"""Reading of tables; the format (Parquet, Arrow IPC, TSV, CSV) is detected from the content."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError
from phylocli.formats.input_formats import (
    ARROW,
    ARROW_STREAM,
    EMPTY,
    NEWICK,
    PARQUET,
    TABLE_FORMATS,
    TABLE_TEXT,
    TEXT,
    Content,
    InputFormat,
    format_of,
    is_tree,
)
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, check_expansion, display_name, is_url, open_input
from phylocli.formats.streams.remote import open_remote
from phylocli.formats.tables.delimited import read_delimited
from phylocli.formats.tables.values import numbers_of, texts_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa
    import pyarrow.parquet as pq

RATIO, LARGE = 1000, 256 << 20
"""Limits of the expansion of a Parquet file: ratio, and bytes from which on it is checked."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}
"""Bytes of a value in memory by its type in the file; of the others 8."""


class NotATableError(BadInputError):
    """A file in another format than a table. The fix names the formats of tables; callers that read others replace it."""

    def __init__(self, what: str, why: str | None = None, fix: str | None = None, *, holds: Content = "other") -> None:
        super().__init__(what, why, fix)
        self.holds = holds


def read_table(source: PathLike | None, *, typed: bool = True) -> pl.DataFrame:
    """Read a table; the format (Parquet, Arrow file or stream, TSV, CSV) is detected from the content.

    Args:
        source: path, or `-`/None for standard input; compressed or not.
        typed: for text files, convert columns to numbers if all their known values are numbers (`values.numbers_of`); False
            keeps the text, except that decimal commas become points.

    Raises:
        NotATableError: the file is in another format.
        BadInputError: the file is empty, damaged, or not a table.
    """
    with open_input(source) as stream:
        return parse_table(stream.read(), display_name(source), typed=typed)


def parse_table(data: bytes, name: str, *, typed: bool = True) -> pl.DataFrame:
    """Parse the decompressed bytes of a table; see `read_table`."""
    found = format_of(data[:4096])
    if found is EMPTY:
        raise BadInputError(f"{name} is empty", fix="check the path, or the command before the pipe")
    if found in (PARQUET, ARROW, ARROW_STREAM):
        return arrow_frame(_read_arrow(data, found, name), name)
    if found.unmistakable or (found is NEWICK and is_tree(data)):
        raise NotATableError(f"{name} is {found.phrase}, not a table", fix=f"give {TABLE_FORMATS}", holds=found.holds)
    frame, separator = read_delimited(data, name)
    if frame.width == 1 and found not in (TABLE_TEXT, TEXT):
        raise NotATableError(f"{name} is {found.phrase}, not a table", fix=f"give {TABLE_FORMATS}", holds=found.holds)
    if frame.width == 1 and not frame.height and found is TEXT:
        raise NotATableError(
            f"{name} is a text file of one line, not a table", fix=f"give {TABLE_FORMATS}", holds=found.holds
        )
    comma = separator == ";"  # the field separator if the comma is the decimal mark
    if typed:
        return frame.select(_typed(column, decimal_comma=comma) for column in frame)
    return frame.select(_with_points(column) for column in frame) if comma else frame


def read_arrow(source: PathLike) -> pa.Table:
    """Read a Parquet or Arrow file, compressed or not, as an Arrow table with metadata.

    Raises:
        BadInputError: the file is damaged, or in another format.
    """
    with open_input(source) as stream:
        data = stream.read()
    return _read_arrow(data, format_of(data[:4096]), display_name(source))


def _read_arrow(data: bytes, found: InputFormat, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with explained(name):
        buffer = pa.BufferReader(data)
        if found is PARQUET:
            check_columns(pq.read_metadata(buffer), len(data), name)
            return pq.read_table(buffer, page_checksum_verification=True)
        reader = pa.ipc.open_file(buffer) if found is ARROW else pa.ipc.open_stream(buffer)
        return reader.read_all()


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Convert Arrow's errors about the content of a file to `BadInputError`s that name the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise BadInputError(
            f"{name} cannot be read as a table",
            why=shorten(str(error).split("\n", 1)[0], 200) or type(error).__name__,
            fix="the file is damaged or incomplete: write or copy it again",
        ) from error


def check_columns(metadata: pq.FileMetaData, size: int, name: str) -> None:
    """Raise an error if a small Parquet file has so many values that it would fill the memory.

    The limits are wide, because a table with many sparse columns is much smaller in the file than in memory.

    Args:
        metadata: of the file.
        size: of the file, in bytes.
        name: of the file, for the message.

    Raises:
        BadInputError: its columns expand to more than `LARGE` bytes, and more than `RATIO` times its size.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    values = sum(max(c.num_values * WIDTHS.get(c.physical_type, 8), c.total_uncompressed_size) for c in columns)
    check_expansion(values, size, name, ratio=RATIO, size=LARGE)


def arrow_frame(table: pa.Table, name: str) -> pl.DataFrame:
    """Convert an Arrow table to a polars frame, after validation.

    Raises:
        BadInputError: offsets or strings are invalid, or polars does not support a type.
    """
    import polars as pl

    with explained(name):
        table.validate(full=True)
    try:
        found = pl.from_arrow(table)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError) as error:
        raise BadInputError(
            f"{name} cannot be read as a table",
            why=shorten(str(error).split("\n", 1)[0], 200),
            fix="write the file again, with columns of numbers and text",
        ) from error
    assert isinstance(found, pl.DataFrame)
    return found


def _typed(column: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Convert a text column to numbers if all known values are numbers, else return it unchanged."""
    numbers = numbers_of(texts_of(column), decimal_comma=decimal_comma)
    return column if numbers is None else numbers


def _with_points(column: pl.Series) -> pl.Series:
    """Replace the commas in a text column of numbers with decimal commas; return other columns unchanged."""
    texts = texts_of(column)
    if numbers_of(texts) is not None or numbers_of(texts, decimal_comma=True) is None:
        return column
    return texts.alias("").str.replace(",", ".", literal=True).alias(column.name)


def read_parquet_metadata(path: PathLike) -> dict[str, str]:
    """Return the key–value metadata of a Parquet file (for embeddings: model fingerprint, pooling, layer, …)."""
    import pyarrow.parquet as pq

    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_remote(path)) if is_url(path) else path
        stack.enter_context(explained(str(path)))
        return metadata_of(pq.read_schema(file))


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """Return the key–value metadata of an Arrow schema, without Arrow's own entries."""
    found = schema.metadata or {}
    return {
        k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items() if not k.startswith(b"ARROW:")
    }


def require_columns(frame: pl.DataFrame, columns: list[str], name: str, what: str) -> None:
    """Check that a table has the columns required by `what`, such as `a table of species`.

    Raises:
        BadInputError: columns are missing.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInputError(
            f"{name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} of {what}",
            why=f"it has {', '.join(frame.columns[:12])}",
            fix="add or rename columns",
        )
