"""Writing of tables as Parquet, Arrow IPC, TSV or CSV; embeddings also as arrays, or with one column per feature."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, get_args

from phylocli.core.errors import UsageError, unknown_name
from phylocli.formats.output_formats import format_by_suffix
from phylocli.formats.streams import STDIO, PathLike, atomic_path, is_file, open_output, suffix_of
from phylocli.formats.tables import array_files

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

logger = logging.getLogger(__name__)

TableFormat = Literal["tsv", "csv", "parquet", "arrow", "wide-tsv", "wide-csv", "npz", "npy", "hdf5", "pt"]

TABLES: tuple[TableFormat, ...] = ("tsv", "csv", "parquet", "arrow")
"""Formats for any table."""
EMBEDDINGS: tuple[TableFormat, ...] = get_args(TableFormat)
"""Formats for tables with a column of vectors."""
RECORDING: tuple[TableFormat, ...] = ("parquet", "arrow")
"""Formats whose metadata say how a table was made, and are read with it."""

_SUFFIXES: dict[str, TableFormat] = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".npz": "npz",
    ".npy": "npy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".pt": "pt",
}


def format_of(
    path: PathLike | None,
    default: TableFormat = "tsv",
    *,
    known: tuple[TableFormat, ...] = TABLES,
    others: Sequence[str] = (),
) -> TableFormat:
    """Return the table format of a path's suffix (ignoring compression suffixes); `default` if it has none.

    Args:
        path: the output; `-`/None is standard output.
        default: the format if there is no suffix.
        known: the formats in which this table can be written.
        others: further suffixes known to the caller, for the message.

    Raises:
        UsageError: the suffix is not the suffix of a known format.
    """
    suffixes = {suffix: format for suffix, format in _SUFFIXES.items() if format in known}
    what = "embeddings" if known is EMBEDDINGS else "a table of this kind"
    more = "".join(f"{suffix}, or " for suffix in others)
    return format_by_suffix(path, suffixes, default, what=what, otherwise=f"{more}--format (text also with .gz, .zst, …)")


def has_format(path: PathLike) -> bool:
    """Return whether a path's suffix names a table format."""
    return suffix_of(path) in _SUFFIXES


def _vector_column(schema: pa.Schema) -> str | None:
    """Return the name of the column of vectors, None if there is none."""
    import pyarrow as pa

    return next((field.name for field in schema if pa.types.is_fixed_size_list(field.type)), None)


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema with dictionary-encoded fields replaced by plain ones."""
    import pyarrow as pa

    fields = (field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema)
    return pa.schema(list(fields), metadata=schema.metadata)


_CUT = b"\xff\xff\xff\xff\x40\x00\x00\x00"
"""The beginning of an Arrow message that does not follow: without a mark, the end of the bytes is the end of a stream."""


class _Output(io.RawIOBase):
    """What libraries write a table to. Once it is cut off, the rest is lost: they complete a table even when deleted."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self.is_cut = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data) if self.is_cut else self._stream.write(data)


class TableWriter:
    """Context manager that writes a table atomically, batch by batch, in bounded memory.

    After an error, a file is not written, and Parquet and Arrow on standard output or in a pipe are not valid.

    TSV is written without quoting: values must not contain tabs or line ends.

    Args:
        target: a path, or `-`/None for standard output.
        schema: the columns of the table; each batch must have all of them.
        format: see `TableFormat`; None: by the suffix. Arrow is written in the file format, or in the stream format to pipes
            and to `.arrows`.

    Raises:
        UsageError: the format is unknown, or stores vectors but the table has none.
    """

    def __init__(self, target: PathLike | None, schema: pa.Schema, format: TableFormat | None = None) -> None:
        self.schema = schema
        self._vectors = _vector_column(schema)
        known = TABLES if self._vectors is None else EMBEDDINGS
        self.format: TableFormat = format or format_of(target, known=known)
        if self.format not in known:
            raise UsageError(f"{self.format} stores vectors, but this table has none", fix=f"choose {', '.join(TABLES)}")
        self.rows = 0
        self._target = target
        self._stack = contextlib.ExitStack()
        self._writer: Any = None
        self._stream: Any = None
        self._output: _Output | None = None
        self._headed = False

    def __enter__(self) -> Self:
        on_disk = self._target is not None and is_file(self._target)
        if self.format in array_files.WRITERS:
            assert self._vectors is not None
            self._writer = self._stack.enter_context(
                array_files.ArrayWriter(
                    STDIO if self._target is None else self._target, self.schema, self._vectors, self.format
                )
            )
            return self
        if self.format == "parquet" and on_disk:
            assert self._target is not None
            path = self._stack.enter_context(atomic_path(self._target))
            self._stream = self._stack.enter_context(path.open("wb"))
        else:
            self._stream = self._stack.enter_context(open_output(self._target))
        if self.format == "arrow" and self._is_arrow_file:  # one dictionary per column, but each batch has its own
            self.schema = _plain(self.schema)
        return self

    @property
    def _is_arrow_file(self) -> bool:
        return self._target is not None and is_file(self._target) and suffix_of(str(self._target)) != ".arrows"

    @property
    def _separator(self) -> str:
        return "," if self.format in ("csv", "wide-csv") else "\t"

    def _head(self) -> None:
        # Written with the first row: if the input is invalid, standard output must remain empty.
        if self._headed or self._writer is not None:
            return
        if self.format in RECORDING:
            output = _Output(self._stream)
            self._writer = self._begun(output)
            self._output = output
        else:
            names = [name for column in self.schema for name in self._columns(column)]
            self._stream.write((self._separator.join(names) + "\n").encode())
            self._headed = True

    def _begun(self, output: _Output) -> Any:
        """Return the library's writer."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.format == "parquet":
            return pq.ParquetWriter(output, self.schema, compression="zstd", write_page_checksum=True)
        return (pa.ipc.new_file if self._is_arrow_file else pa.ipc.new_stream)(output, self.schema)

    def _columns(self, field: pa.Field) -> list[str]:
        """Return the text columns for a column of the table: in wide formats, one per feature for the vectors."""
        if field.name == self._vectors and self.format.startswith("wide"):
            return [f"d{number}" for number in range(1, field.type.list_size + 1)]
        return [field.name]

    def write(self, batch: pa.Table | pl.DataFrame) -> None:
        """Append rows."""
        import pyarrow as pa

        table = batch if isinstance(batch, pa.Table) else batch.to_arrow()
        table = table.select(self.schema.names).cast(self.schema)
        self.rows += table.num_rows
        self._head()
        if self._writer is not None:
            self._writer.write_table(table)
            return
        import polars as pl

        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        if self._vectors is not None and self.format.startswith("wide"):
            features = self._columns(self.schema.field(self._vectors))
            frame = frame.with_columns(pl.col(self._vectors).arr.to_struct(fields=features)).unnest(self._vectors)
            frame = frame.with_columns(pl.col(features).cast(pl.Float32))
        lists = [name for name, kind in frame.schema.items() if kind in (pl.List, pl.Array)]
        frame = frame.with_columns(
            pl.col(name).cast(pl.List(pl.Float32)).cast(pl.List(pl.String)).list.join(" ") for name in lists
        )
        style: Literal["never", "necessary"] = "never" if self._separator == "\t" else "necessary"
        text = frame.write_csv(separator=self._separator, include_header=False, quote_style=style)
        self._stream.write(text.encode())

    def flush(self) -> None:
        """Flush buffered rows, for readers of a pipe."""
        if self._stream is not None:
            self._stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            self._cut()
            return self._stack.__exit__(kind, error, trace)
        try:
            self._head()
            if self._writer is not None:
                self._writer.close()
        except BaseException as closing:
            self._cut()
            self._stack.__exit__(type(closing), closing, closing.__traceback__)
            raise
        return self._stack.__exit__(None, None, None)

    def _cut(self) -> None:
        """Leave the table unfinished, so that no reader of a pipe takes it for a whole one."""
        if self._output is None:
            return
        self._output.is_cut = True
        with contextlib.suppress(Exception):  # the reader may be gone
            if self.format == "arrow":
                self._stream.write(_CUT)
            self._writer.close()


def write_table(frame: pl.DataFrame, target: PathLike | None, schema: pa.Schema, format: TableFormat | None = None) -> None:
    """Write a whole table; see `TableWriter`."""
    with TableWriter(target, schema, format) as writer:
        writer.write(frame)


def parse_format(
    text: str | None, target: PathLike | None = None, *, known: tuple[TableFormat, ...] = TABLES
) -> TableFormat | None:
    """Return a table format by name; None if `text` is None and the format follows from the suffix of `target`.

    Raises:
        UsageError: the name or the suffix is not a known format.
    """
    if text is None:
        format_of(target, known=known)
        return None
    found = next((format for format in known if format == text), None)
    if found is None:
        raise unknown_name("unknown table format", text, known)
    with contextlib.suppress(UsageError):  # a named format may go to a file of any suffix
        of_suffix = format_of(target, found, known=known)
        if of_suffix != found and not found.endswith(f"-{of_suffix}"):
            logger.warning(
                f"{os.fspath(target or '-')} is written as {found} (--format), although its suffix means {of_suffix}"
            )
    return found
