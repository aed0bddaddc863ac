"""Verification of the store: checksums, records, profiles, release files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phylocli.core import console
from phylocli.core.errors import BadInputError
from phylocli.formats.provenance import sidecar_path
from phylocli.formats.streams import file_sha256
from phylocli.store.integrity import check_family, check_profile, file_md5
from phylocli.store.names import read_sidecar
from phylocli.store.store import Store

_HOUR = 3600.0


@dataclass(frozen=True)
class Finding:
    """A problem in a store.

    Attributes:
        path: the file.
        what: description.
        harmful: False if no data would be read incorrectly because of it.
    """

    path: Path
    what: str
    harmful: bool = True


def verify_store(store: Store, accessions: Iterable[str] | None = None, *, remove: bool = False) -> list[Finding]:
    """Return the problems in a store.

    Each record is read and compared with its checksum, its declared number of members, its name, and its tree; each profile
    with its checksum and its declared number of nodes; each release file with its checksum. Leftovers of killed runs are
    reported as harmless.

    Args:
        store: the store.
        accessions: only these families; None checks everything.
        remove: remove damaged files, so that the next `fetch` downloads them again.

    Raises:
        UsageError: the given store does not exist.
    """
    store.check_exists()
    named = list(accessions) if accessions is not None else store.accessions()
    found: list[Finding] = []
    for accession in console.progress(named, "verifying", unit="families"):
        with store.locked():  # the record and its provenance change together
            found += _family(store, accession)
            found += _profile(store, accession)
    if accessions is None:
        found += _releases(store)
        found += _leftovers(store)
    if remove:
        for finding in found:
            for path in (finding.path, sidecar_path(finding.path)):
                path.unlink(missing_ok=True)
    return found


def _family(store: Store, accession: str) -> Iterator[Finding]:
    path = store.family_path(accession)
    if not path.is_file():
        yield Finding(path, "is missing")
        return
    yield from _checksum(path)
    try:
        family = store.read(accession)
        check_family(family, None, path.name)
        if accession not in (family.accession, family.name):
            yield Finding(path, f"contains {family.label}")
        if family.has_tree:
            family.require_tree()
    except BadInputError as error:
        yield Finding(path, error.what)


def _profile(store: Store, accession: str) -> Iterator[Finding]:
    path = store.profile_path(accession)
    if not path.is_file():
        return
    yield from _checksum(path)
    try:
        check_profile(path.read_bytes(), accession, path.name)
    except BadInputError as error:
        yield Finding(path, error.what)


def _checksum(path: Path) -> Iterator[Finding]:
    published = read_sidecar(path).get("output", {}).get("sha256")
    if not published:
        yield Finding(path, "has no provenance record", harmful=False)
    elif file_sha256(path) != published:
        yield Finding(path, "does not match the checksum in its provenance record")


def _releases(store: Store) -> Iterator[Finding]:
    for path in sorted((store.root / "releases").glob("*/*.gz")):
        published = read_sidecar(path).get("source", {}).get("md5")
        if published is not None and file_md5(path) != published:
            yield Finding(path, "does not match the checksum published by the release")


def _leftovers(store: Store) -> Iterator[Finding]:
    import time

    for folder in ("families", "profiles", "clans", "staging"):
        for path in sorted((store.root / folder).rglob("*.part")):
            if time.time() - path.stat().st_mtime > _HOUR:  # newer ones may belong to a running process
                yield Finding(path, "left over from a killed run", harmful=False)


__all__ = ["Finding", "verify_store"]
