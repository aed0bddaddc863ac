"""Writing tables as Parquet, Arrow IPC, TSV or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from phylocli.core.errors import UsageError, unknown_name
from phylocli.formats.streams import STDIO, PathLike, atomic_path, is_file, open_output, suffix_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa


TableFormat = Literal["tsv", "csv", "parquet", "arrow"]

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
}


def format_of(path: PathLike | None, default: TableFormat = "tsv", others: Sequence[str] = ()) -> TableFormat:
    """Return the table format that a path's suffix names (compression suffixes aside); `default` where it has none.

    Args:
        path: of the output; `-`/None is standard output.
        default: the format where there is no suffix.
        others: suffixes that the caller knows besides, for the message.

    Raises:
        UsageError: a suffix that names none.
    """
    if path is None or str(path) == STDIO or str(path).startswith("/dev/"):
        return default
    suffix = suffix_of(path)
    if suffix and suffix not in _SUFFIXES:
        raise UsageError(
            f"{path}: tables are not written as {suffix}",
            fix=f"use a suffix of {', '.join((*_SUFFIXES, *others))} (of text also with .gz, .zst, …), or --format",
        )
    return _SUFFIXES.get(suffix, default)


def has_format(path: PathLike) -> bool:
    """Return whether a path's suffix names a table format."""
    return suffix_of(path) in _SUFFIXES


class TableWriter:
    """Writes a table batch by batch in bounded memory; the file appears, whole, when the block ends well.

    Args:
        target: a path, or `-`/None for standard output.
        schema: the table's columns; batches must have them all.
        format: `tsv`, `csv`, `parquet` or `arrow` (the IPC stream); None takes it from the suffix.

    Use as a context manager. TSV is written without quoting: no value may hold a tab or a line end.
    """

    def __init__(self, target: PathLike | None, schema: pa.Schema, format: TableFormat | None = None) -> None:
        import contextlib

        self.schema = schema
        self.format: TableFormat = format or format_of(target)
        self.rows = 0
        self._target = target
        self._stack = contextlib.ExitStack()
        self._writer: Any = None
        self._stream: Any = None
        self._headed = False

    def __enter__(self) -> Self:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.format == "parquet" and self._target is not None and is_file(self._target):
            path = self._stack.enter_context(atomic_path(self._target))
            self._stream = self._stack.enter_context(path.open("wb"))
        else:
            self._stream = self._stack.enter_context(open_output(self._target))
        try:
            if self.format == "parquet":
                self._writer = pq.ParquetWriter(self._stream, self.schema, compression="zstd", write_page_checksum=True)
            elif self.format == "arrow":
                self._writer = pa.ipc.new_stream(self._stream, self.schema)
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    @property
    def _separator(self) -> str:
        return "," if self.format == "csv" else "\t"

    def _head(self) -> None:
        # With the first row, not before: an input that turns out to be bad must leave standard output empty.
        if not self._headed:
            self._stream.write((self._separator.join(self.schema.names) + "\n").encode())
            self._headed = True

    def write(self, batch: pa.Table | pl.DataFrame) -> None:
        """Append rows."""
        import pyarrow as pa

        table = batch if isinstance(batch, pa.Table) else batch.to_arrow()
        table = table.select(self.schema.names).cast(self.schema)
        self.rows += table.num_rows
        if self._writer is not None:
            self._writer.write_table(table)
            return
        import polars as pl

        self._head()
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        lists = [name for name, kind in frame.schema.items() if kind in (pl.List, pl.Array)]
        frame = frame.with_columns(
            pl.col(name).cast(pl.List(pl.Float32)).cast(pl.List(pl.String)).list.join(" ") for name in lists
        )
        style: Literal["never", "necessary"] = "never" if self.format == "tsv" else "necessary"
        text = frame.write_csv(separator=self._separator, include_header=False, quote_style=style)
        self._stream.write(text.encode())

    def flush(self) -> None:
        """Send what is written on its way, for readers of a pipe."""
        self._stream.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            if self._writer is not None and (kind is None or self.format == "parquet"):
                self._writer.close()
            if self._writer is None and kind is None:
                self._head()
        except BaseException as closing:
            if kind is None:
                self._stack.__exit__(type(closing), closing, closing.__traceback__)
                raise
        return self._stack.__exit__(kind, error, trace)


def write_table(frame: pl.DataFrame, target: PathLike | None, schema: pa.Schema, format: TableFormat | None = None) -> None:
    """Write a whole table; see `TableWriter`."""
    with TableWriter(target, schema, format) as writer:
        writer.write(frame)


def parse_format(text: str | None) -> TableFormat | None:
    """Return a table format by its name; None stays None.

    Raises:
        UsageError: no such format.
    """
    if text is None:
        return None
    if text not in get_args(TableFormat):
        raise unknown_name("unknown table format", text, get_args(TableFormat))
    return text  # type: ignore[return-value]
