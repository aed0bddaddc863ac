"""Splitting of flat files with many records into the store, one record at a time."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from phylocli.config.parallel import ParallelConfig
from phylocli.core import console
from phylocli.core.errors import BadInputError, PhylocliError
from phylocli.executors import Work, run_pieces, summarise
from phylocli.fetch.retry_policy import Policy
from phylocli.fetch.verify import unpacked
from phylocli.formats import stockholm
from phylocli.formats.provenance import Record, Source, provenance
from phylocli.formats.stockholm import split_accession
from phylocli.formats.streams import text_lines
from phylocli.store import Bulk, Store, read_sidecar
from phylocli.store.bulk import packed
from phylocli.store.integrity import FETCH_AGAIN, check_family, check_profile

_FAMILY = re.compile(r"PF\d{5}", re.ASCII)
_NO_CAP = 1 << 62  # the size is limited per record, not per release file


@dataclass
class Split:
    """The result of splitting a release file.

    Attributes:
        families: the accessions of all records, in order.
        written: the number of records that were new or changed.
        skipped: the reasons for skipped records, by accession: their data are damaged.
        failed: the errors of records that may be sound, such as that their worker died.
    """

    families: list[str] = field(default_factory=list)
    written: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, PhylocliError] = field(default_factory=dict)


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


@dataclass(frozen=True)
class _Record:
    """A record of a release file.

    Attributes:
        accession: of its family.
        text: as in the file.
        digest: its SHA-256.
    """

    accession: str
    text: bytes
    digest: str


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
    parallel: ParallelConfig | None = None,
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
        parallel: where records are parsed; None: in this process.

    Raises:
        BadInputError: the file is damaged.
    """
    base: Record = {**provenance("fetch", {"alignment": alignment, "release": source["release"]}), "inputs": []}
    work = Work(functools.partial(_packed_family, path.name, f"fetch {alignment} Pfam {source['release']}"))
    splitting = _Splitting(path, policy, only, None if refresh else store.family_path, {**source, "alignment": alignment})
    return splitting.run(
        work, parallel, lambda accession, data, held: bulk.record(accession, data, {**base, "source": held})
    )


def split_profiles(
    path: Path,
    store: Store,
    bulk: Bulk,
    *,
    source: Source,
    policy: Policy,
    only: Collection[str] | None = None,
    refresh: bool = False,
    parallel: ParallelConfig | None = None,
) -> Split:
    """Write the profile HMMs of a release to the store; see `split_alignments`.

    Raises:
        BadInputError: the file is damaged.
    """
    base: Record = {**provenance("fetch", {"release": source["release"]}), "inputs": []}
    splitting = _Splitting(path, policy, only, None if refresh else store.profile_path, source)
    work = Work(functools.partial(_checked_profile, path.name))
    return splitting.run(
        work, parallel, lambda accession, data, held: bulk.profile(accession, data, {**base, "source": held})
    )


def _packed_family(file: str, note: str, record: _Record) -> tuple[str, bytes]:
    """Return the digest of a record, and the family in the form of the store."""
    name = f"{file}, {record.accession}"
    (family,) = stockholm.parse(text_lines(cast(BinaryIO, io.BytesIO(record.text)), name), name)
    check_family(family, record.accession, name)
    family.notes.append(note)
    return record.digest, packed(family)


def _checked_profile(file: str, record: _Record) -> tuple[str, bytes]:
    check_profile(record.text, record.accession, f"{file}, {record.accession}")
    return record.digest, record.text


@dataclass
class _Splitting:
    """The splitting of a file.

    Attributes:
        path: the file.
        policy: provides the maximum size of a record.
        only: the accessions to write; None: all.
        place: returns the path of a family's record in the store, which is kept if it is the same; None: none is kept.
        source: the provenance of the records, without their checksums.
    """

    path: Path
    policy: Policy
    only: Collection[str] | None
    place: Callable[[str], Path] | None
    source: Source
    result: Split = field(default_factory=Split)
    _same: int = 0

    def run(
        self,
        work: Work[_Record, tuple[str, bytes]],
        parallel: ParallelConfig | None,
        write: Callable[[str, bytes, Source], None],
    ) -> Split:
        """Check the records, and write those that are new or changed."""
        where, start = parallel or ParallelConfig(), time.monotonic()
        for accession, found in run_pieces(work, self._records(), jobs=where.jobs, cluster=where.cluster):
            if isinstance(found, BadInputError):
                self.result.skipped[accession] = found.what
                continue
            if isinstance(found, PhylocliError):
                self.result.failed[accession] = found
                continue
            digest, data = found
            write(accession, data, {**self.source, "sha256": digest})
            self.result.written += 1
        failed = len(self.result.skipped) + len(self.result.failed)
        summarise(
            f"records of {self.path.name}",
            done=self.result.written,
            failed=failed,
            known=self._same,
            seconds=time.monotonic() - start,
            divided=where.jobs != 1 or where.cluster is not None,
        )
        return self.result

    def _records(self) -> Iterator[tuple[str, _Record]]:
        for text in _watched(self.path, self.policy, f"splitting {self.path.name}"):
            accession = _accession(text)
            if self.only is not None and accession not in self.only:
                continue
            if accession is None or not _FAMILY.fullmatch(accession):
                self.result.skipped[accession or f"record {len(self.result.families) + 1}"] = "no Pfam accession"
                continue
            self.result.families.append(accession)
            digest = hashlib.sha256(text).hexdigest()
            if self.place is None or not _same(self.place(accession), {**self.source, "sha256": digest}):
                yield accession, _Record(accession, text, digest)
            else:
                self._same += 1


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
