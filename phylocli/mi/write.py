"""Writing rows as they are computed: JSON for people and scripts, and table formats."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phylocli.core.errors import unknown_name
from phylocli.formats.streams import PathLike, open_text_output
from phylocli.formats.tables import TableWriter, format_of, parse_format

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("json", "tsv", "csv", "parquet", "arrow")


def format_for(target: PathLike | None, format: str | None) -> str:
    """Return the requested format, or the format of the suffix; TSV for standard output.

    Raises:
        UsageError: no such format.
    """
    if format is None:
        return "json" if target is not None and str(target).endswith(".json") else format_of(target)
    if format not in FORMATS:
        raise unknown_name("unknown format", format, FORMATS)
    return format


def write_rows(
    rows: Iterable[Mapping[str, object]], target: PathLike | None, schema: pa.Schema, format: str | None = None
) -> int:
    """Write rows one by one as soon as they are available, and return their number.

    Args:
        rows: with the columns of the schema.
        target: a path, or `-`/None for standard output.
        schema: the columns.
        format: of `FORMATS`; JSON is a list of objects, one per line, with null for values that are not finite.
    """
    chosen = format_for(target, format)
    if chosen == "json":
        return _write_json(rows, target, schema.names)
    import pyarrow as pa

    with TableWriter(target, schema, parse_format(chosen)) as writer:
        for row in rows:
            writer.write(pa.Table.from_pylist([row], schema=schema))
            writer.flush()
        return writer.rows


def _write_json(rows: Iterable[Mapping[str, object]], target: PathLike | None, names: Sequence[str]) -> int:
    count = 0
    with open_text_output(target) as stream:
        for row in rows:
            stream.write("[\n" if count == 0 else ",\n")
            stream.write(json.dumps({name: _plain(row[name]) for name in names}, ensure_ascii=False))
            stream.flush()
            count += 1
        stream.write("\n]\n" if count else "[]\n")
    return count


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
