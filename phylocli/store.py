"""The store: a folder of family records, `families/PF00042.sto.gz`, each complete or not there at all.

Several processes may use one store at once. A record appears by a rename, so a reader meets the old one or the new one; the
record and the provenance beside it change together under a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phylocli import console
from phylocli.errors import BadInputError, PhylocliError, UsageError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import sidecar_path, write_sidecar
from phylocli.formats.stockholm import write_family
from phylocli.formats.streams import PathLike, open_output, write_text

# Names from the network never become paths: an accession in a file name is letters, digits, `_`, `-` and inner dots only.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def default_root() -> Path:
    """Return the store's folder: `$PHYLOCLI_STORE`, else the platform's user data folder."""
    named = os.environ.get("PHYLOCLI_STORE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("phylocli", appauthor=False)) / "store"


class Store:
    """A folder of family records.

    Args:
        root: the folder; None takes `default_root()`. It need not exist yet.
    """

    def __init__(self, root: PathLike | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()

    def family_path(self, accession: str) -> Path:
        """Return where a family's record lies or would lie.

        Raises:
            UsageError: the accession cannot be a file name.
        """
        return self.root / "families" / f"{_checked(accession)}.sto.gz"

    def profile_path(self, accession: str) -> Path:
        """Return where a family's HMM lies or would lie.

        Raises:
            UsageError: the accession cannot be a file name.
        """
        return self.root / "profiles" / f"{_checked(accession)}.hmm"

    def release_path(self, release: str) -> Path:
        """Return the folder of a Pfam release's own files.

        Raises:
            UsageError: the release cannot be a folder's name.
        """
        return self.root / "releases" / _checked(release)

    def __contains__(self, accession: str) -> bool:
        return self.family_path(accession).is_file()

    def accessions(self) -> list[str]:
        """Return the accessions of all families there, sorted."""
        # Hidden names are parts that another process is still writing.
        found = (self.root / "families").glob("*.sto.gz")
        return sorted(p.name.removesuffix(".sto.gz") for p in found if not p.name.startswith("."))

    def read(self, accession: str) -> Family:
        """Return a family.

        Raises:
            BadInputError: it is not there, or its record is damaged.
        """
        path = self.family_path(accession)
        if not path.is_file():
            raise BadInputError(
                f"the store {self.root} has no family {accession}", fix=f"get it with 'phylocli fetch {accession}'"
            )
        return next(iter(read_families(path)))

    def write(
        self, family: Family, stage: str, parameters: dict[str, object], *, source: dict[str, Any] | None = None
    ) -> Path:
        """Write a family's record atomically, with its provenance beside it, and return its path.

        Args:
            family: the family; its accession, else its name, is the name of the file.
            stage: the subcommand that made it.
            parameters: what the subcommand was asked to do.
            source: for a family from a public service: the URL, release, checksum and time. None keeps what is known of the
                record that is replaced: a family that gets a tree still comes from where it came from.
        """
        path = self.family_path(family.accession or family.name)
        with self.locked():
            held = source if source is not None else read_sidecar(path).get("source")
            write_families([family], path)
            write_sidecar(path, stage, parameters, source=held)
        return path

    def write_profile(
        self, accession: str, text: bytes, parameters: dict[str, object], *, source: dict[str, Any] | None = None
    ) -> Path:
        """Write a family's HMM atomically, with its provenance beside it, and return its path."""
        path = self.profile_path(accession)
        with self.locked():
            with open_output(path) as stream:
                stream.write(text)
            write_sidecar(path, "fetch", parameters, source=source)
        return path

    def origin(self, accession: str) -> dict[str, Any]:
        """Return the provenance of a family's record as it stands beside it, or {} where there is none that can be read."""
        return read_sidecar(self.family_path(accession))

    @contextmanager
    def locked(self, name: str = "store") -> Iterator[None]:
        """Hold one of the store's locks for the length of the block; another process that wants it waits.

        Raises:
            PhylocliError: the store cannot be written.
        """
        folder = self.root / "locks"
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                handle = stack.enter_context((folder / f"{_checked(name)}.lock").open("a"))
            except OSError as error:
                raise PhylocliError(
                    f"the store {self.root} cannot be written", why=error.strerror, fix="choose another with --store"
                ) from error
            # The kernel drops the lock when the process ends, however it ends.
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if name != "store":
                    console.info(f"another process works on {name} in {self.root}; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @contextmanager
    def bulk(self, name: str) -> Iterator[Bulk]:
        """Give a writer for many records; what is complete is in the store even where the block ends in an error.

        Args:
            name: of the work. The caller holds the lock of this name, so that leftovers of a run that was killed can go.
        """
        staging = self.root / "staging" / _checked(name)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        writer = Bulk(self, staging)
        try:
            yield writer
        finally:
            writer.flush()
            shutil.rmtree(staging, ignore_errors=True)

    def families(self) -> Iterator[Family]:
        """Yield all families, by accession."""
        for accession in self.accessions():
            yield self.read(accession)

    def write_clan(self, clan: str, members: list[str]) -> None:
        """Keep which families a clan has, fetched or not."""
        path = self.root / "clans" / f"{_checked(clan)}.tsv"
        text = "".join(f"{_checked(member)}\n" for member in members)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def clan_members(self, clan: str, *, kept_only: bool = False) -> list[str]:
        """Return which families a clan has, as `write_clan` kept it, whether they are there or not.

        Where nothing was kept: those that are there, or with `kept_only` none.
        """
        path = self.root / "clans" / f"{_checked(clan)}.tsv"
        if path.is_file():
            return path.read_text(encoding="utf-8").split()
        return [] if kept_only else self.clan(clan)

    def clan(self, clan: str) -> list[str]:
        """Return the accessions of the families there that belong to a clan."""
        return [family.accession for family in self.families() if family.clan == clan]


class Bulk:
    """Writes many records of a store: flushed to disk together, then renamed together; see `Store.bulk`."""

    _FILES = 512
    _BYTES = 1 << 26

    def __init__(self, store: Store, staging: Path) -> None:
        self._store = store
        self._staging = staging
        self._waiting: list[tuple[Path, Path]] = []
        self._size = 0

    def family(self, family: Family, sidecar: dict[str, Any]) -> None:
        """Write a family's record; `sidecar` lacks only the checksum."""
        text = io.StringIO()
        write_family(family, text)
        packed = io.BytesIO()
        # As `streams.open_output` writes `.gz`: the same record has the same bytes, however it came here.
        with gzip.GzipFile(filename="", fileobj=packed, mode="wb", compresslevel=6, mtime=0) as stream:
            stream.write(text.getvalue().encode())
        self._add(self._store.family_path(family.accession or family.name), packed.getvalue(), sidecar)

    def profile(self, accession: str, text: bytes, sidecar: dict[str, Any]) -> None:
        """Write a family's HMM; `sidecar` lacks only the checksum."""
        self._add(self._store.profile_path(accession), text, sidecar)

    def _add(self, path: Path, data: bytes, sidecar: dict[str, Any]) -> None:
        record = {**sidecar, "output": {"name": path.name, "sha256": hashlib.sha256(data).hexdigest()}}
        self._stage(path, data)
        self._stage(sidecar_path(path), (json.dumps(record, indent=2, default=str) + "\n").encode())
        if len(self._waiting) >= self._FILES or self._size >= self._BYTES:
            self.flush()

    def _stage(self, path: Path, data: bytes) -> None:
        part = self._staging / f"{len(self._waiting)}.part"
        part.write_bytes(data)
        self._waiting.append((part, path))
        self._size += len(data)

    def flush(self) -> None:
        """Put everything that was written so far into its place."""
        if not self._waiting:
            return
        # All are written before the first is flushed, so that the disk can take them in one go.
        for part, _ in self._waiting:
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
        with self._store.locked():
            for folder in {path.parent for _, path in self._waiting}:
                folder.mkdir(parents=True, exist_ok=True)
            for part, path in self._waiting:
                part.replace(path)
        self._waiting.clear()
        self._size = 0


def is_safe(name: str) -> bool:
    """Return whether an accession can be a file name."""
    return _SAFE.fullmatch(name) is not None


def _checked(name: str) -> str:
    if not is_safe(name):
        raise UsageError(f"{name[:100]!r} cannot name a family of the store", fix="accessions look like PF00042")
    return name


def read_sidecar(artefact: PathLike) -> dict[str, Any]:
    """Return the provenance beside a file, or {} where there is none that can be read."""
    try:
        found = json.loads(sidecar_path(artefact).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
