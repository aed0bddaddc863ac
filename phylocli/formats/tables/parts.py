"""Tables in parts: a folder of Parquet files with a manifest, as written by `phylocli embed -o FOLDER/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike

MANIFEST = "manifest.json"
FORMAT = "phylocli-parts-1"


def part_path(folder: Path, index: int) -> Path:
    """Return the path of a part, such as `part-000012.parquet`; parts are numbered from 0."""
    return folder / f"part-{index:06d}.parquet"


class Manifest(TypedDict, total=False):
    """The content of `MANIFEST`: settings, checksum of the input, and, once the whole input has been read, the counts."""

    format: str
    settings: dict[str, object]
    input: str
    parts: int
    sequences: int


def is_parts(path: PathLike) -> bool:
    """Return whether a path is a folder with a manifest."""
    return (Path(path) / MANIFEST).is_file()


def read_manifest(folder: PathLike) -> Manifest:
    """Return the manifest.

    Raises:
        BadInputError: the manifest is missing, damaged or in another format.
    """
    path = Path(folder) / MANIFEST
    try:
        found: Manifest = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise BadInputError(
                f"{path} has the format {found['format']!r}",
                why=f"this version reads {FORMAT!r}",
                fix="embed the sequences again, into another folder",
            )
        return found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path} is not a manifest of a table in parts",
            why=str(error),
            fix="name a folder that 'phylocli embed -o FOLDER/' wrote",
        ) from error


def missing_parts(folder: PathLike, parts: int) -> list[int]:
    """Return the indices of missing parts among 0 … `parts` - 1."""
    return [index for index in range(parts) if not part_path(Path(folder), index).is_file()]


def is_part_beyond(folder: PathLike, parts: int) -> bool:
    """Return whether a part with an index ≥ `parts` exists, left over from a longer input."""
    return any(path.name >= part_path(Path(folder), parts).name for path in Path(folder).glob("part-*.parquet"))


def part_files(folder: PathLike) -> list[Path]:
    """Return the files of a complete table, in order.

    Raises:
        BadInputError: parts are missing, or their number is not yet known.
    """
    total = read_manifest(folder).get("parts")
    missing = missing_parts(folder, total) if total is not None else []
    if total is None or missing:
        raise BadInputError(
            f"{folder} is not complete",
            why=f"{len(missing)} of {total} parts are missing"
            if total is not None
            else "no run has reached the end of the input",
            fix="run 'phylocli embed' again to complete it",
        )
    return [part_path(Path(folder), index) for index in range(total)]
