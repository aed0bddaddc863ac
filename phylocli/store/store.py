"""The store: a folder of family records, `families/PF00042.sto.gz`, written atomically.

Several processes may use one store at a time. Records are written by renaming, so readers see either the old or the new
version; a record and its provenance are changed together under a lock.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from phylocli.core.errors import BadInputError, PhylocliError, UsageError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import Record, Source, write_sidecar
from phylocli.formats.streams import OutputError, PathLike, locks, open_output, write_text
from phylocli.store.bulk import Bulk, staged
from phylocli.store.inventory import read_entry
from phylocli.store.names import checked, default_root, family_path, profile_path, read_sidecar


class Store:
    """A folder of family records.

    Args:
        root: the folder; None uses `default_root()`. It need not exist yet.

    Examples:
        >>> store = phylocli.Store("families-store")
        >>> list(store.accessions())
        []
    """

    def __init__(self, root: PathLike | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self._named = root is not None

    def check_exists(self) -> None:
        """Refuse a store that was named explicitly and does not exist: a misspelt path is not an empty store.

        Raises:
            UsageError: it does not exist.
        """
        if self._named and not self.root.is_dir():
            raise UsageError(
                f"the store {self.root} does not exist",
                fix="check --store and $PHYLOCLI_STORE, or fill it with 'phylocli fetch' or 'phylocli store import'",
            )

    def family_path(self, accession: str) -> Path:
        """Return the path of a family's record, whether it exists or not.

        Raises:
            UsageError: the accession cannot be a file name.
        """
        return family_path(self.root, accession)

    def profile_path(self, accession: str) -> Path:
        """Return the path of a family's HMM, whether it exists or not.

        Raises:
            UsageError: the accession cannot be a file name.
        """
        return profile_path(self.root, accession)

    def release_path(self, release: str) -> Path:
        """Return the folder for the files of a Pfam release.

        Raises:
            UsageError: the release cannot be a folder name.
        """
        return self.root / "releases" / checked(release)

    def __contains__(self, accession: str) -> bool:
        return self.family_path(accession).is_file()

    def accessions(self) -> list[str]:
        """Return the sorted accessions of all families in the store."""
        # Hidden names are temporary files of other processes.
        found = (self.root / "families").glob("*.sto.gz")
        return sorted(p.name.removesuffix(".sto.gz") for p in found if not p.name.startswith("."))

    def read(self, accession: str) -> Family:
        """Return a family.

        Raises:
            BadInputError: it is not in the store, or its record is damaged.
        """
        path = self.family_path(accession)
        if not path.is_file():
            raise BadInputError(
                f"the store {self.root} has no family {accession}", fix=f"get it with 'phylocli fetch {accession}'"
            )
        family, *more = read_families(path)  # to the end, where the checksum of the compressed file is
        if more:
            raise BadInputError(
                f"{path} contains {len(more) + 1} records", fix=f"fetch it again: phylocli fetch --refresh {accession}"
            )
        return family

    def write(self, family: Family, stage: str, parameters: Mapping[str, object], *, source: Source | None = None) -> Path:
        """Write a family's record and its provenance atomically, and return its path.

        Args:
            family: its accession, else its name, is the name of the file.
            stage: the subcommand that made it.
            parameters: options of the subcommand.
            source: for a family from a public service: the URL, release, checksum and time. None keeps the source of the
                replaced record, for example when a tree is added.
        """
        path = self.family_path(family.accession or family.name)
        with self.locked():
            held = source if source is not None else read_sidecar(path).get("source")
            write_families([family], path)
            write_sidecar(path, stage, parameters, source=held)
        return path

    def write_profile(
        self, accession: str, text: bytes, parameters: Mapping[str, object], *, source: Source | None = None
    ) -> Path:
        """Write a family's HMM and its provenance atomically, and return its path."""
        path = self.profile_path(accession)
        with self.locked():
            with open_output(path) as stream:
                stream.write(text)
            write_sidecar(path, "fetch", parameters, source=source)
        return path

    def origin(self, accession: str) -> Record:
        """Return the provenance of a family's record, or {} if there is none that can be read."""
        return read_sidecar(self.family_path(accession))

    @contextmanager
    def locked(self, name: str = "store") -> Iterator[None]:
        """Hold one of the store's locks for the duration of the block; other processes that request it wait.

        Raises:
            PhylocliError: the store cannot be written to.
        """
        folder = self.root / "locks"
        what = "" if name == "store" else f"works on {name} in {self.root}"
        with contextlib.ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locks.waiting(folder / f"{checked(name)}.lock", what))
            except (OSError, OutputError) as error:
                why = error.why if isinstance(error, OutputError) else error.strerror
                raise PhylocliError(
                    f"the store {self.root} cannot be written to", why=why, fix="choose another with --store"
                ) from error
            yield

    @contextmanager
    def bulk(self, name: str) -> Iterator[Bulk]:
        """Yield a writer for many records; complete records are in the store even if the block raises an error.

        Args:
            name: name of the task. The caller holds the lock of this name, so leftovers of a killed run can be removed.
        """
        with staged(self.root, name, self.locked) as writer:
            yield writer

    def families(self) -> Iterator[Family]:
        """Yield all families, by accession."""
        for accession in self.accessions():
            yield self.read(accession)

    def clans(self) -> list[str]:
        """Return the clans whose members are known, see `write_clan`, in alphabetical order."""
        return sorted(path.stem for path in (self.root / "clans").glob("*.tsv"))

    def write_clan(self, clan: str, members: list[str]) -> None:
        """Save the families of a clan, whether fetched or not."""
        path = self.root / "clans" / f"{checked(clan)}.tsv"
        text = "".join(f"{checked(member)}\n" for member in members)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)

    def clan_members(self, clan: str, *, kept_only: bool = False) -> list[str]:
        """Return the families of a clan saved by `write_clan`, whether in the store or not.

        If none were saved: the families in the store, or with `kept_only` none.
        """
        path = self.root / "clans" / f"{checked(clan)}.tsv"
        if path.is_file():
            return path.read_text(encoding="utf-8").split()
        return [] if kept_only else self.clan(clan)

    def clan(self, clan: str) -> list[str]:
        """Return the accessions of the clan's families in the store."""
        return [accession for accession in self.accessions() if read_entry(self.root, accession).clan == clan]
