"""Tables in parts: a folder of Parquet files with a manifest, as written by `phylocli embed -o FOLDER/`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypedDict

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike, is_url, read_text, recording_inputs
from phylocli.formats.streams.remote import join, listing

MANIFEST = "manifest.json"
FORMAT = "phylocli-parts-1"


def part_name(index: int) -> str:
    """Return the name of a part, such as `part-000012.parquet`; parts are numbered from 0."""
    return f"part-{index:06d}.parquet"


def part_path(folder: Path, index: int) -> Path:
    """Return the path of a part of a folder on disk."""
    return folder / part_name(index)


class Manifest(TypedDict, total=False):
    """The content of `MANIFEST`: settings, checksum of the input, and, once the whole input has been read, the counts."""

    format: str
    settings: dict[str, object]
    input: str
    parts: int
    sequences: int


def is_parts(path: PathLike) -> bool:
    """Return whether a path or URL is a folder with a manifest."""
    return MANIFEST in listing(path) if is_url(path) else (Path(path) / MANIFEST).is_file()


def read_manifest(folder: PathLike) -> Manifest:
    """Return the manifest.

    Raises:
        BadInputError: the manifest is missing, damaged or in another format.
    """
    path = join(folder, MANIFEST)
    try:
        with recording_inputs():  # it is not an input of the run
            found: Manifest = json.loads(read_text(path))
        version = found["format"]
    except (BadInputError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path} is not a manifest of a table in parts",
            why=str(error),
            fix="name a folder that 'phylocli embed -o FOLDER/' wrote",
        ) from error
    if version != FORMAT:
        raise BadInputError(
            f"{path} has the format {version!r}",
            why=f"this version reads {FORMAT!r}",
            fix="embed the sequences again, into another folder",
        )
    return found


def missing_parts(folder: PathLike, parts: int) -> list[int]:
    """Return the indices of missing parts among 0 … `parts` - 1."""
    there = listing(folder)
    return [index for index in range(parts) if part_name(index) not in there]


def is_part_beyond(folder: PathLike, parts: int) -> bool:
    """Return whether a part with an index ≥ `parts` exists, left over from a longer input."""
    return any(int(name[5:-8]) >= parts for name in listing(folder) if is_part(name))


def is_part(name: str) -> bool:
    """Return whether a file name is that of a part."""
    return re.fullmatch(r"part-\d{6,}\.parquet", name) is not None


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
