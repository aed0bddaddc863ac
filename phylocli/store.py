"""The store: a folder of family records, `families/PF00042.sto.gz`, each complete or not there at all.

Several processes may use one store at once. A record appears by a rename, so a reader meets the old one or the new one; the
record and the provenance beside it change together under a lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phylocli.errors import BadInputError, UsageError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import sidecar_path, write_sidecar
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
            source: for a family from a public service: the URL, release, checksum and time.
        """
        path = self.family_path(family.accession or family.name)
        with self.locked():
            write_families([family], path)
            write_sidecar(path, stage, parameters, source=source)
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
        """Hold one of the store's locks for the length of the block; another process that wants it waits."""
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{_checked(name)}.lock").open("a") as handle, contextlib.ExitStack() as stack:
            # The kernel drops the lock when the process ends, however it ends.
            fcntl.flock(handle, fcntl.LOCK_EX)
            stack.callback(fcntl.flock, handle, fcntl.LOCK_UN)
            yield

    def families(self) -> Iterator[Family]:
        """Yield all families, by accession."""
        for accession in self.accessions():
            yield self.read(accession)

    def write_clan(self, clan: str, members: list[str]) -> None:
        """Keep which families a clan has, fetched or not."""
        write_text(self.root / "clans" / f"{_checked(clan)}.tsv", "".join(f"{_checked(m)}\n" for m in members))

    def clan_members(self, clan: str) -> list[str]:
        """Return which families a clan has, whether they are there or not; those that are there where nothing was kept."""
        path = self.root / "clans" / f"{_checked(clan)}.tsv"
        if path.is_file():
            return path.read_text(encoding="utf-8").split()
        return self.clan(clan)

    def clan(self, clan: str) -> list[str]:
        """Return the accessions of the families there that belong to a clan."""
        return [family.accession for family in self.families() if family.clan == clan]


def _checked(name: str) -> str:
    if not _SAFE.fullmatch(name):
        raise UsageError(f"{name[:100]!r} cannot name a family of the store", fix="accessions look like PF00042")
    return name


def read_sidecar(artefact: PathLike) -> dict[str, Any]:
    """Return the provenance beside a file, or {} where there is none that can be read."""
    try:
        found = json.loads(sidecar_path(artefact).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
