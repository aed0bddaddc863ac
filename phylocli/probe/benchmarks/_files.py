"""Finding and reading the files of benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.streams import open_input
from phylocli.formats.tables import read_table

if TYPE_CHECKING:
    import polars as pl

PUBLISHED = "use the files as they were published; docs/probe.md has their sources"


def find(folder: Path, *patterns: str) -> Path:
    """Return the first file below the folder that matches a pattern, trying the patterns in order.

    Raises:
        UsageError: no file matches.
    """
    found = find_any(folder, *patterns)
    if found is not None:
        return found
    raise UsageError(
        f"{folder} contains none of this benchmark's files",
        why=f"looked for {', '.join(patterns)}, at any depth",
        fix="see docs/probe.md for their sources, and give their folder with --data",
    )


def find_any(folder: Path, *patterns: str) -> Path | None:
    """Return the first file below the folder that matches a pattern, trying the patterns in order; None if no file does."""
    for pattern in patterns:
        found = sorted(p for p in folder.rglob(pattern) if p.is_file())
        if found:
            return found[0]
    return None


def read(path: Path, *needed: str) -> pl.DataFrame:
    """Read a table and check that it has these columns.

    Raises:
        BadInputError: the file is not a table, or a column is missing.
    """
    frame = read_table(path)
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise BadInputError(
            f"{path.name} has no column {missing[0]!r}",
            why=f"its columns are {', '.join(frame.columns[:12])}",
            fix=PUBLISHED,
        )
    return frame


def read_json(path: Path, *needed: str) -> list[dict[str, Any]]:
    """Read a JSON list of records and check that each has these fields.

    Raises:
        BadInputError: the file is not a JSON list of records, or a field is missing.
    """
    with open_input(path) as stream:
        try:
            records = json.loads(stream.read())
        except ValueError as error:
            raise BadInputError(f"{path.name} is not JSON", why=str(error), fix=PUBLISHED) from error
    if not isinstance(records, list) or not records or not all(isinstance(r, dict) for r in records):
        raise BadInputError(f"{path.name} is not a list of records", fix=PUBLISHED)
    for place, record in enumerate(records):
        missing = [name for name in needed if name not in record]
        if missing:
            raise BadInputError(f"{path.name}: record {place + 1} has no field {missing[0]!r}", fix=PUBLISHED)
    return records


def is_json(path: Path) -> bool:
    """Return whether the name of a file has the suffix of JSON, compressed or not."""
    return ".json" in path.suffixes[-2:]


def with_ids(frame: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Return the frame with a column `id`, which is added as prefix and row number from 1 if it is missing."""
    import polars as pl

    if "id" in frame.columns:
        return frame
    numbers = pl.int_range(1, frame.height + 1).cast(pl.String)
    return frame.with_columns(pl.concat_str([pl.lit(f"{prefix}-"), numbers]).alias("id"))


def read_tape(folder: Path, task: str, name: str, field: str, column: str) -> pl.DataFrame:
    """Read a part of a TAPE regression task, with the columns `id`, `split`, `column` (the quantity) and `sequence`.

    Args:
        folder: the folder that contains `<task>_<name>.json` or the table `tape_<task>/<name>.tsv`.
        task: name of the task in TAPE's files.
        name: name of the part, which is also the value of `split`.
        field: field of the quantity in the JSON records, a number or a list of one number.
        column: column of the quantity in the table.
    """
    import polars as pl

    path = find(folder, f"tape_{task}/{name}.tsv*", f"{task}_{name}.json*")
    if is_json(path):
        records = read_json(path, "primary", field)
        values = [r[field] for r in records]
        plain = [float(v[0] if isinstance(v, list) else v) for v in values]
        frame = pl.DataFrame({"sequence": [r["primary"] for r in records], column: plain})
    else:
        frame = read(path, column, "sequence").select("sequence", pl.col(column).cast(pl.Float64))
    return with_ids(frame, name).with_columns(pl.lit(name).alias("split")).select("id", "split", column, "sequence")
