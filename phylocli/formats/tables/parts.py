"""A table in many files: a folder of Parquet parts with a manifest, as `phylocli embed -o FOLDER` writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from phylocli.core.errors import BadInputError
from phylocli.formats.streams import PathLike

MANIFEST = "manifest.json"
FORMAT = "phylocli-parts-1"


def part_path(folder: Path, index: int) -> Path:
    """Return the file of a part, `part-000012.parquet`; parts count from 0."""
    return folder / f"part-{index:06d}.parquet"


class Manifest(TypedDict, total=False):
    """What `MANIFEST` holds: the settings, the checksum of the input, and, once all of it was seen, the sizes."""

    format: str
    settings: dict[str, object]
    input: str
    parts: int
    sequences: int


def is_parts(path: PathLike) -> bool:
    """Return whether a path is such a folder."""
    return (Path(path) / MANIFEST).is_file()


def read_manifest(folder: PathLike) -> Manifest:
    """Return the manifest: `settings`, and, once a run has seen all of the input, `parts` and `sequences`.

    Raises:
        BadInputError: there is none, or it is damaged or in another format.
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
    """Return which of the parts 0 … `parts` - 1 are not there."""
    return [index for index in range(parts) if not part_path(Path(folder), index).is_file()]


def is_part_beyond(folder: PathLike, parts: int) -> bool:
    """Return whether there is a part with a number of at least `parts`, left from a longer input."""
    return any(path.name >= part_path(Path(folder), parts).name for path in Path(folder).glob("part-*.parquet"))


def part_files(folder: PathLike) -> list[Path]:
    """Return the files of a complete table in order.

    Raises:
        BadInputError: parts are missing, or it cannot be known whether all are there.
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
