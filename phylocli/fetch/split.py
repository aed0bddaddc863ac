"""Splitting of flat files with many records into the store, one record at a time."""

from __future__ import annotations

import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.fetch.retry_policy import Policy
from phylocli.fetch.verify import unpacked
from phylocli.formats import stockholm
from phylocli.formats.provenance import Record, Source, provenance
from phylocli.formats.stockholm import split_accession
from phylocli.formats.streams import text_lines
from phylocli.store import Bulk, Store, read_sidecar
from phylocli.store.integrity import FETCH_AGAIN, check_family, check_profile

_FAMILY = re.compile(r"PF\d{5}", re.ASCII)
_NO_CAP = 1 << 62  # the size is limited per record, not per release file


@dataclass
class Split:
    """The result of splitting a release file.

    Attributes:
        families: the accessions of all records, in order.
        written: the number of records that were new or changed.
        skipped: the reasons for skipped records, by accession.
    """

    families: list[str] = field(default_factory=list)
    written: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def read_clans(stream: BinaryIO, name: str) -> dict[str, list[str]]:
    """Parse `Pfam-A.clans.tsv`, decompressed; return the families of each clan. The clan column may be empty.

    Raises:
        BadInputError: the table is empty, or a line is invalid.
    """
    clans: dict[str, list[str]] = defaultdict(list)
    lines = 0
    for number, line in text_lines(stream, name):
        columns = line.split("\t")
        if len(columns) < 4 or not _FAMILY.fullmatch(columns[0]):
            raise BadInputError(f"{name}, line {number}: not a line of Pfam's list of clans: {line[:60]!r}", fix=FETCH_AGAIN)
        lines += 1
        if columns[1]:
            clans[columns[1]].append(columns[0])
    if not lines:
        raise BadInputError(f"{name} is empty", fix=FETCH_AGAIN)
    return {clan: sorted(members) for clan, members in sorted(clans.items())}


def clans_of(path: Path) -> dict[str, list[str]]:
    """Return the families of each clan from `Pfam-A.clans.tsv[.gz]`; see `read_clans`."""
    with _naming(path), path.open("rb") as raw:
        return read_clans(unpacked(cast(BinaryIO, raw), _NO_CAP), path.name)


def records(stream: BinaryIO, limit: int, name: str) -> Iterator[bytes]:
    """Yield the records of a flat file, which are terminated by lines `//`.

    Raises:
        BadInputError: a record has more than `limit` bytes, or the last one is incomplete.
    """
    parts: list[bytes] = []
    size = 0
    for line in stream:
        parts.append(line)
        size += len(line)
        if size > limit:
            raise BadInputError(f"{name}: a record of more than {limit:,} bytes", fix=FETCH_AGAIN)
        if line.rstrip() == b"//":
            yield b"".join(parts)
            parts, size = [], 0
    if b"".join(parts).strip():
        raise BadInputError(f"{name} ends in the middle of a record", fix=FETCH_AGAIN)


def split_alignments(
    path: Path,
    store: Store,
    bulk: Bulk,
    *,
    source: Source,
    alignment: str,
    policy: Policy,
    only: Collection[str] | None = None,
    refresh: bool = False,
) -> Split:
    """Write the families of an alignment file of a release to the store.

    Records that the store already has from the same source, by checksum, are not written again, so an interrupted run
    resumes.

    Args:
        path: `Pfam-A.seed[.gz]` or `Pfam-A.full[.gz]`.
        store: the destination.
        bulk: the bulk writer of the store.
        source: the provenance of the file: service, release, URL, name, checksum and time.
        alignment: `seed` or `full`.
        policy: provides the maximum size of a record.
        only: the accessions to write; None: all.
        refresh: also write records that are already in the store.

    Raises:
        BadInputError: the file is damaged.
    """
    result = Split()
    base: Record = {**provenance("fetch", {"alignment": alignment, "release": source["release"]}), "inputs": []}
    for record in _watched(path, policy, f"splitting {path.name}"):
        accession = _accession(record)
        if only is not None and accession not in only:
            continue
        if accession is None or not _FAMILY.fullmatch(accession):
            result.skipped[accession or f"record {len(result.families) + 1}"] = "no Pfam accession"
            continue
        result.families.append(accession)
        held: Source = {**source, "alignment": alignment, "sha256": hashlib.sha256(record).hexdigest()}
        if not refresh and _same(store.family_path(accession), held):
            continue
        name = f"{path.name}, {accession}"
        try:
            (family,) = stockholm.parse(text_lines(cast(BinaryIO, io.BytesIO(record)), name), name)
            check_family(family, accession, name)
        except BadInputError as error:
            result.skipped[accession] = error.what
            continue
        family.notes.append(f"fetch {alignment} Pfam {source['release']}")
        bulk.family(family, {**base, "source": held})
        result.written += 1
    return result


def split_profiles(
    path: Path,
    store: Store,
    bulk: Bulk,
    *,
    source: Source,
    policy: Policy,
    only: Collection[str] | None = None,
    refresh: bool = False,
) -> Split:
    """Write the profile HMMs of a release to the store; see `split_alignments`.

    Raises:
        BadInputError: the file is damaged.
    """
    result = Split()
    base: Record = {**provenance("fetch", {"release": source["release"]}), "inputs": []}
    for record in _watched(path, policy, f"splitting {path.name}"):
        accession = _accession(record)
        if only is not None and accession not in only:
            continue
        if accession is None or not _FAMILY.fullmatch(accession):
            result.skipped[accession or f"profile {len(result.families) + 1}"] = "no Pfam accession"
            continue
        result.families.append(accession)
        held: Source = {**source, "sha256": hashlib.sha256(record).hexdigest()}
        if not refresh and _same(store.profile_path(accession), held):
            continue
        try:
            check_profile(record, accession, f"{path.name}, {accession}")
        except BadInputError as error:
            result.skipped[accession] = error.what
            continue
        bulk.profile(accession, record, {**base, "source": held})
        result.written += 1
    return result


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file name to decompression errors."""
    try:
        yield
    except BadInputError as error:
        if path.name in error.what:
            raise
        raise BadInputError(f"{path}: {error.what}", error.why, FETCH_AGAIN) from error


def _watched(path: Path, policy: Policy, description: str) -> Iterator[bytes]:
    """Yield the records of a file, with a progress bar in compressed bytes."""
    with (
        console.progress_task(description, total=path.stat().st_size, unit="bytes") as task,
        _naming(path),
        path.open("rb") as raw,
    ):
        seen = 0
        for record in records(unpacked(cast(BinaryIO, raw), _NO_CAP), policy.max_unpacked, path.name):
            yield record
            now = raw.tell()
            task.advance(now - seen)
            seen = now


_AC_LINE = re.compile(rb"^(?:#=GF[ \t]+AC|ACC)[ \t]+(\S+)", re.MULTILINE)


def _accession(record: bytes) -> str | None:
    found = _AC_LINE.search(record)
    return split_accession(found.group(1).decode("latin-1"))[0] if found else None


def _same(path: Path, source: Source) -> bool:
    """Return whether the file in the store was written from this record."""
    if not path.is_file():
        return False
    held = read_sidecar(path).get("source") or {}
    return all(held.get(key) == value for key, value in source.items() if key != "time")
