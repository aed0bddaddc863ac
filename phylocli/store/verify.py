"""Looking the store over: every checksum, every record, every profile, every release file."""

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
    """Something in a store that is not as it should be.

    Attributes:
        path: the file.
        what: what is wrong with it.
        harmful: False where nothing would be read wrongly because of it.
    """

    path: Path
    what: str
    harmful: bool = True


def verify_store(store: Store, accessions: Iterable[str] | None = None, *, remove: bool = False) -> list[Finding]:
    """Return what is wrong in a store: nothing, if all is well.

    Each record is read and held against its checksum, its own count of members, its name, and its tree; each profile
    against its checksum and its own count of nodes; each release file against its checksum. Leftovers of runs that were
    killed are harmless and are named.

    Args:
        store: the store.
        accessions: only these families; None looks at everything.
        remove: remove what is wrong, so that the next `fetch` brings it anew.

    Raises:
        UsageError: the store that is named does not exist.
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
            yield Finding(path, f"holds {family.label}")
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
            yield Finding(path, "does not match the checksum that the release publishes")


def _leftovers(store: Store) -> Iterator[Finding]:
    import time

    for folder in ("families", "profiles", "clans", "staging"):
        for path in sorted((store.root / folder).rglob("*.part")):
            if time.time() - path.stat().st_mtime > _HOUR:  # younger ones may be another process's work
                yield Finding(path, "left behind by a run that was killed", harmful=False)


__all__ = ["Finding", "verify_store"]
