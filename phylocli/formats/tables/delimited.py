"""Parsing of delimited text (TSV, CSV) into a table of strings; the dialect is detected from the content.

The rules (see also `docs/formats.md`):

- Encoding: see `streams.decode_text`.
- Line ends: `\\n`, `\\r\\n` or `\\r`.
- Separator: a tab if the header contains one; else `;` or `,`, whichever occurs more often in the header.
- Quotes: always in CSV; in TSV only if the header is quoted, as in R's `write.table`. Otherwise they are ordinary
  characters.
- If the header has one name fewer than the rows have fields (R), the first column contains row names.
- Every row has as many fields as the header has names.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from phylocli.core.errors import BadInputError
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import decode_text

if TYPE_CHECKING:
    import polars as pl

ROW_NAMES = "row.names"
"""Name for the column of row names in files from R, where the header omits it."""

_BLOCK = 1 << 26
"""Block size of the parser in bytes; no row may be longer."""


def separator_of(header: str) -> str:
    """Return the separator of a table, given its first line; a tab if the line contains none."""
    if "\t" in header:
        return "\t"
    return max(",;", key=lambda mark: len(next(csv.reader([header], delimiter=mark), [""]))) if header else "\t"


class Delimited(NamedTuple):
    """A table of strings, empty fields null, and its field separator."""

    frame: pl.DataFrame
    separator: str


def read_delimited(data: bytes, name: str) -> Delimited:
    """Parse delimited text into a table of strings; columns without name and content are removed.

    Args:
        data: the content of the file, decompressed.
        name: the name of the file, for messages.

    Raises:
        BadInputError: the data are not a table or contain zero bytes, rows differ in width, no column has a name, or two
            have the same.
    """
    text = decode_text(data, name)
    text = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\n")
    if "\0" in text:
        raise BadInputError(
            f"{name} is not a table", why="it contains zero bytes", fix="check the path, or write the file again"
        )
    if not text.strip():
        raise BadInputError(f"{name} contains no text", fix="give a table with a header line")
    first = text.split("\n", 1)[0]
    separator = separator_of(first)
    quoted = separator != "\t" or first.startswith('"') or '\t"' in first
    stream = io.StringIO(text)
    try:
        rows = csv.reader(stream, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
        header = [field.strip() for field in next(rows)]
    except csv.Error as error:
        raise BadInputError(
            f"{name}: the header cannot be read",
            why=str(error),
            fix="write one line of column names, separated like the rows",
        ) from error
    lines = text.count("\n", 0, stream.tell())
    body = text[stream.tell() :].encode("utf-8", errors="replace")
    bad = _Rows()
    found = _parse(body, header, separator, quoted, bad)
    if found is None and bad.number == 1 and bad.fields == len(header) + 1:
        header, bad = [ROW_NAMES, *header], _Rows()
        found = _parse(body, header, separator, quoted, bad)
    if found is None:
        raise BadInputError(
            f"{name} cannot be read as a table",
            why=f"row {bad.number + lines}, {shorten(bad.text, 50)!r}, has {bad.fields} fields, the header {len(header)}"
            if bad.number
            else bad.text,
            fix=f"separate fields by {'tabs' if separator == chr(9) else repr(separator)}; check that the file is whole",
        )
    # Spreadsheets also write empty columns without a name.
    kept = [i for i, column in enumerate(header) if column or not found.height or found[str(i)].null_count() < found.height]
    if not kept:
        raise BadInputError(
            f"{name} is not a table", why="its header names no column", fix="write one line of column names above the rows"
        )
    header, found = [header[i] for i in kept], found[[str(i) for i in kept]]
    twice = next((column for i, column in enumerate(header) if column in header[:i]), None)
    if twice is not None:
        raise BadInputError(f"{name}: two columns are named {twice!r}", fix="give every column a unique name")
    found.columns = header
    return Delimited(found, separator)


@dataclass
class _Rows:
    """The first row that does not match the header (number from 1, number of fields, text), or another error message."""

    number: int = 0
    fields: int = 0
    text: str = ""


def _parse(body: bytes, header: list[str], separator: str, quoted: bool, bad: _Rows) -> pl.DataFrame | None:
    """Return the rows as strings, with numbered columns; or set `bad` and return None if a row does not match the header."""
    import polars as pl
    import pyarrow as pa
    import pyarrow.csv as pc

    columns = [str(i) for i in range(len(header))]
    if not body.strip(b"\n"):
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))

    def refuse(row: Any) -> str:
        bad.number, bad.fields, bad.text = bad.number or row.number or 0, row.actual_columns, row.text
        return "error"

    try:
        table = pc.read_csv(
            pa.BufferReader(body),
            # Row numbers are known with a single thread only.
            read_options=pc.ReadOptions(column_names=columns, block_size=_BLOCK, use_threads=False),
            parse_options=pc.ParseOptions(
                delimiter=separator,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=refuse,
            ),
            convert_options=pc.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.large_string()), null_values=[""], strings_can_be_null=True
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        bad.text = bad.text or str(error).split("\n", 1)[0][:300]
        return None
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
