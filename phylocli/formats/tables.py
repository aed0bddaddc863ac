"""Tables: every schema in one place, and reading and writing them as Parquet, Arrow IPC, TSV or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.delimited import read_delimited
from phylocli.formats.fasta import shorten
from phylocli.formats.sniffing import Kind, kind_of
from phylocli.formats.streams import PACKED, STDIO, PathLike, atomic_path, display_name, is_file, open_input, open_output
from phylocli.formats.values import numbers_of, texts_of

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


def pairs_schema() -> pa.Schema:
    """Homolog pairs: one row a pair; `distance` is patristic, expected substitutions per site."""
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    text = pa.string()
    fields = [("family", name), ("clan", name), ("id_a", text), ("id_b", text), ("distance", pa.float64())]
    return pa.schema([*fields, ("seq_a", text), ("seq_b", text)])


def negatives_schema() -> pa.Schema:
    """Hard negatives: one row a family and one of its negatives, `rank` 1 the hardest.

    `by` says what `score` is: `profile` (bits), `model` (cosine), or `group` (0: the two are of one group).
    """
    import pyarrow as pa

    text = pa.string()
    fields = [("family", text), ("clan", text), ("negative", text), ("negative_clan", text), ("rank", pa.int32())]
    return pa.schema([*fields, ("score", pa.float64()), ("by", text)])


def split_schema() -> pa.Schema:
    """A split: one row per member of a family; `part` is `train`, `validation` or `test`."""
    import pyarrow as pa

    name = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([("family", name), ("clan", name), ("id", pa.string()), ("part", name)])


def embeddings_schema(dimension: int, *, half: bool = False, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Embeddings: one row a sequence; `length` is in residues."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if half else pa.float32(), dimension)
    return pa.schema([("id", pa.string()), ("length", pa.int32()), ("embedding", vector)], metadata=metadata)


def residues_schema(dimension: int, *, half: bool = False, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Embeddings per residue: one row a residue; `position` counts from 1."""
    import pyarrow as pa

    vector = pa.list_(pa.float16() if half else pa.float32(), dimension)
    fields = [("id", pa.string()), ("position", pa.int32()), ("residue", pa.string()), ("embedding", vector)]
    return pa.schema(fields, metadata=metadata)


def hits_schema(*, residues: bool = False, aligned: bool = False) -> pa.Schema:
    """Hits of a search: one row a query and hit, `rank` 1 the best; `evalue` is that of the cosine.

    Where asked for: `residues` and `residues_evalue` (alignment of residue embeddings), `align_evalue` and `align_bits`
    (phmmer; null: no alignment), and of both, `both_evalue`.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [("query", text), ("target", text), ("rank", pa.int32()), ("cosine", number), ("evalue", number)]
    if residues:
        fields += [("residues", number), ("residues_evalue", number)]
    if aligned:
        fields += [("align_evalue", number), ("align_bits", number)]
    if residues and aligned:
        fields += [("both_evalue", number)]
    return pa.schema(fields)


def members_schema() -> pa.Schema:
    """Members of families: one row a member; `from` and `to` count residues from 1, both inclusive, `score` is in bits.

    `name` is the row's name in the family's record. `family` and `name` are null for a sequence that is in no family,
    `score` and `evalue` where a member was not found by a search.
    """
    import pyarrow as pa

    place = [("id", pa.string()), ("from", pa.int32()), ("to", pa.int32())]
    found = [("family", pa.string()), ("score", pa.float64()), ("evalue", pa.float64()), ("name", pa.string())]
    return pa.schema([*place, *found])


def metrics_schema() -> pa.Schema:
    """Evaluation: one row a figure; `low` and `high` are its 95 % interval, `n` the number of items it stands on."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [
        ("embedding", text),
        ("task", text),
        ("level", text),
        ("metric", text),
        ("value", number),
        ("low", number),
    ]
    return pa.schema([*fields, ("high", number), ("n", pa.int64())])


def inputs_schema() -> pa.Schema:
    """What columns of tables were taken for: one row a column, or several of one kind, and one for each match of ids."""
    import pyarrow as pa

    text = pa.string()
    return pa.schema([("table", text), ("column", text), ("taken_as", text), ("why", text)])


def benchmark_schema() -> pa.Schema:
    """Benchmark of estimators of information: one row an estimator, critic and level of the true information.

    `estimate_nats` and `sd` are mean and standard deviation over fresh batches of `batch_size` pairs.
    """
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    fields = [("estimator", text), ("critic", text), ("batch_size", count), ("dimension", count)]
    return pa.schema([*fields, ("true_nats", number), ("estimate_nats", number), ("sd", number), ("transform", text)])


def summary_schema() -> pa.Schema:
    """Summary of that benchmark: bias in nats, variance and mean squared error in nats²."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    fields = [("transform", text), ("estimator", text), ("critic", text), ("true_nats", number)]
    return pa.schema([*fields, ("bias", number), ("variance", number), ("mean_squared_error", number)])


def information_schema() -> pa.Schema:
    """Estimates of mutual information: one row an estimator and critic.

    `low` and `high` are the 95 % interval, `ceiling_nats` is what the estimate cannot exceed (null: nothing), `control_nats`
    the same estimate with partners shuffled; `n` held-out pairs, in `groups` that were resampled whole.
    """
    import pyarrow as pa

    text, count, number = pa.string(), pa.int64(), pa.float64()
    fields = [("estimator", text), ("critic", text), ("estimate_nats", number), ("low", number), ("high", number)]
    fields += [("ceiling_nats", number), ("control_nats", number), ("control_low", number), ("control_high", number)]
    return pa.schema([*fields, ("n", count), ("groups", count), ("n_train", count), ("at_ceiling", pa.bool_())])


def labels_schema() -> pa.Schema:
    """Labels of proteins as `fetch --annotations` writes them; several values in one cell are separated by `;`.

    `ec_class` is the first figure of the EC number where all the EC numbers of the protein have the same one.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    fields = [("id", text), ("accession", text), ("length", number), ("organism", text), ("taxon", number)]
    return pa.schema([*fields, ("ec", text), ("ec_class", text), ("go", text), ("pfam", text)])


def sites_schema() -> pa.Schema:
    """What is true of a simulated family: one row a column of its alignment, counted from 1.

    `rate` is relative to the mean over the sites of the root, `motif` 0 where there is none; `ancestral` is false for
    columns that were inserted.
    """
    import pyarrow as pa

    place = [("family", pa.dictionary(pa.int32(), pa.string())), ("column", pa.int32()), ("rate", pa.float64())]
    return pa.schema([*place, ("motif", pa.int32()), ("ancestral", pa.bool_())])


def format_of(path: PathLike | None, default: TableFormat = "tsv") -> TableFormat:
    """Return the table format that a path's suffix names (compression suffixes aside); `default` where it has none.

    Raises:
        UsageError: a suffix that names none.
    """
    if path is None or str(path) == STDIO or str(path).startswith("/dev/"):
        return default
    suffix = _suffix(path)
    if suffix and suffix not in _SUFFIXES:
        raise UsageError(
            f"{path}: tables are not written as {suffix}",
            fix=f"use a suffix of {', '.join(_SUFFIXES)} (of text also with .gz, .zst, …), or --format",
        )
    return _SUFFIXES.get(suffix, default)


def has_format(path: PathLike) -> bool:
    """Return whether a path's suffix names a table format."""
    return _suffix(path) in _SUFFIXES


def _suffix(path: PathLike) -> str:
    name = Path(path)
    return (Path(name.stem) if name.suffix.lower() in PACKED else name).suffix.lower()


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


_NO_TABLES: dict[Kind, str] = {
    "hdf5": "an HDF5 file",
    "numpy": "a ZIP archive, NumPy array or spreadsheet",
    "fasta": "a FASTA file",
    "pir": "a PIR file",
    "stockholm": "a Stockholm file",
    "genbank": "a GenBank file",
    "json": "a JSON file",
    "markup": "a web page or XML file",
}
"""Kinds of files that cannot be a table, as messages call them; a column's name may begin as other kinds do."""


def read_table(source: PathLike | None, *, typed: bool = True) -> pl.DataFrame:
    """Read a table whose format is known by its content: Parquet, Arrow (file or stream), else TSV or CSV by its header.

    Args:
        source: path, or `-`/None for standard input; compressed or not.
        typed: take columns of texts for numbers where every known value is one (`values.numbers_of`); False leaves what a
            text file holds as it stands there, but for decimal commas, which become points.

    Raises:
        BadInputError: empty, damaged, or not a table.
    """
    name = display_name(source)
    with open_input(source) as stream:
        data = stream.read()
    kind = kind_of(data[:4096])
    if kind == "empty":
        raise BadInputError(f"{name} is empty", fix="check the path, or the command before the pipe")
    if kind in ("parquet", "arrow", "arrow-stream"):
        return arrow_frame(_read_arrow(data, kind, name), name)
    if kind in _NO_TABLES:
        raise BadInputError(f"{name} is {_NO_TABLES[kind]}, not a table", fix="give Parquet, Arrow, TSV or CSV")
    frame, separator = read_delimited(data, name)
    comma = separator == ";"  # what separates fields where the comma is the decimal mark
    if typed:
        return frame.select(_typed(column, decimal_comma=comma) for column in frame)
    return frame.select(_with_points(column) for column in frame) if comma else frame


def _read_arrow(data: bytes, kind: Kind, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with explained(name):
        buffer = pa.BufferReader(data)
        if kind == "parquet":
            return pq.read_table(buffer, page_checksum_verification=True)
        reader = pa.ipc.open_file(buffer) if kind == "arrow" else pa.ipc.open_stream(buffer)
        return reader.read_all()


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Raise what Arrow finds wrong with a file's bytes as a BadInputError that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise BadInputError(
            f"{name} cannot be read as a table",
            why=shorten(str(error).split("\n", 1)[0], 200) or type(error).__name__,
            fix="the file is damaged or not whole: write or copy it again",
        ) from error


def arrow_frame(table: pa.Table, name: str) -> pl.DataFrame:
    """Return an Arrow table as a polars frame, after checking its bytes.

    Raises:
        BadInputError: offsets or texts that are damaged, types that polars does not know.
    """
    import polars as pl

    with explained(name):
        table.validate(full=True)
    try:
        found = pl.from_arrow(table)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, TypeError) as error:
        raise BadInputError(f"{name} cannot be read as a table", why=shorten(str(error).split("\n", 1)[0], 200)) from error
    assert isinstance(found, pl.DataFrame)
    return found


def _typed(column: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Return a column of texts as numbers where every known text is one, else as it is."""
    numbers = numbers_of(texts_of(column), decimal_comma=decimal_comma)
    return column if numbers is None else numbers


def _with_points(column: pl.Series) -> pl.Series:
    """Return a column of numbers with decimal commas, as texts, with points; any other as it is."""
    texts = texts_of(column)
    if numbers_of(texts) is not None or numbers_of(texts, decimal_comma=True) is None:
        return column
    return texts.str.replace(",", ".", literal=True)


def read_parquet_metadata(path: PathLike) -> dict[str, str]:
    """Return the key–value metadata of a Parquet file (for embeddings: model hash, pooling, layer)."""
    import pyarrow.parquet as pq

    with explained(str(path)):
        found = pq.read_schema(path).metadata or {}
    return {
        k.decode("utf-8", "replace"): v.decode("utf-8", "replace") for k, v in found.items() if not k.startswith(b"ARROW:")
    }


def require_columns(frame: pl.DataFrame, columns: list[str], name: str, what: str) -> None:
    """Raise where a table lacks columns that `what` needs.

    Raises:
        BadInputError: naming the columns that are missing and those there are.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadInputError(
            f"{name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} of {what}",
            why=f"it has {', '.join(frame.columns[:12])}",
        )


def parse_format(text: str | None) -> TableFormat | None:
    """Return a table format by its name; None stays None.

    Raises:
        UsageError: no such format.
    """
    if text is None:
        return None
    if text not in ("tsv", "csv", "parquet", "arrow"):
        raise UsageError(f"there is no table format named {text!r}", fix="known: tsv, csv, parquet, arrow")
    return text  # type: ignore[return-value]


__all__ = [
    "TableFormat",
    "TableWriter",
    "arrow_frame",
    "benchmark_schema",
    "embeddings_schema",
    "explained",
    "format_of",
    "hits_schema",
    "information_schema",
    "inputs_schema",
    "labels_schema",
    "members_schema",
    "metrics_schema",
    "negatives_schema",
    "pairs_schema",
    "parse_format",
    "read_parquet_metadata",
    "read_table",
    "require_columns",
    "residues_schema",
    "sites_schema",
    "summary_schema",
    "write_table",
]
