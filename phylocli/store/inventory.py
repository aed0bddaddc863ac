"""The contents of a store, read from the headers of its records: fast enough for a whole release."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phylocli.core.errors import BadInputError
from phylocli.formats.provenance import Source
from phylocli.formats.stockholm import split_accession
from phylocli.store.names import family_path, profile_path, read_sidecar

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Entry:
    """A family of a store, from the header of its record and its provenance.

    Attributes:
        accession: name in the store.
        version: of the accession.
        name: short name.
        clan: clan accession.
        sequences: number of members, from the `SQ` line.
        columns: of the alignment.
        tree: whether the record has a tree.
        profile: whether its HMM is in the store.
        bytes: size of the record on disk.
        service: its source, empty for your own families.
        release: of the service.
        alignment: `seed` or `full`, as requested.
        retrieved: time, in ISO format.
    """

    accession: str
    version: str = ""
    name: str = ""
    clan: str = ""
    sequences: int = 0
    columns: int = 0
    tree: bool = False
    profile: bool = False
    bytes: int = 0
    service: str = ""
    release: str = ""
    alignment: str = ""
    retrieved: str = ""


def inventory_schema() -> pa.Schema:
    """The table of `store ls`: one row per family, columns as in `Entry`."""
    import pyarrow as pa

    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    kinds = {"sequences": number, "columns": number, "tree": flag, "profile": flag, "bytes": number}
    return pa.schema([(name, kinds.get(name, text)) for name in Entry.__dataclass_fields__])


def read_entry(root: Path, accession: str) -> Entry:
    """Return the entry of a family without reading its alignment.

    Raises:
        BadInputError: its record cannot be read.
    """
    path = family_path(root, accession)
    entry = Entry(accession)
    try:
        entry.bytes = path.stat().st_size
        with gzip.open(path, "rb") as stream:
            for line in stream:
                if line.startswith(b"#=GF"):
                    _note(entry, line.decode("utf-8", "replace"))
                elif not line.startswith(b"#") and line.strip() and not line.startswith(b"//"):
                    entry.columns = len(line.split()[-1])
                    break
    except (OSError, EOFError) as error:
        raise BadInputError(
            f"{path} cannot be read", why=str(error), fix=f"fetch it again: phylocli fetch {accession} --refresh"
        ) from error
    entry.profile = profile_path(root, accession).is_file()
    about = read_sidecar(path)
    source = about.get("source") or Source()
    entry.service = str(source.get("service") or "")
    entry.release = str(source.get("release") or "")
    entry.alignment = str(source.get("alignment") or "")
    entry.retrieved = str(source.get("time") or about.get("time") or "")
    return entry


def _note(entry: Entry, line: str) -> None:
    words = line.split(None, 2)
    if len(words) < 3:
        return
    tag, text = words[1], words[2].strip()
    if tag == "AC":
        entry.version = split_accession(text)[1]
    elif tag == "ID":
        entry.name = text
    elif tag == "CL":
        entry.clan = split_accession(text)[0]
    elif tag == "SQ":
        entry.sequences = int(text) if text.isdigit() else 0
    elif tag == "NH":
        entry.tree = True


def folder_bytes(folder: Path) -> Iterator[int]:
    """Yield the sizes of all files in a folder and its subfolders."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.stat().st_size


_RELEASE = re.compile(r"\d{1,3}\.\d{1,3}", re.ASCII)


def releases_there(root: Path) -> list[str]:
    """Return the releases whose files are in a store, oldest first."""
    folder = root / "releases"
    found = [p.name for p in folder.iterdir() if _RELEASE.fullmatch(p.name)] if folder.is_dir() else []
    return sorted(found, key=lambda name: tuple(map(int, name.split("."))))
