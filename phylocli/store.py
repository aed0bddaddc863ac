"""The store: a folder of family records, `families/PF00042.sto.gz`, each complete or not there at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from phylocli.errors import BadInputError, UsageError
from phylocli.formats import read_families, write_families
from phylocli.formats.family import Family
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import PathLike

# Names from the network never become paths: an accession in a file name is letters, digits, `_`, `-` and inner dots only.
_SAFE = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$")


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
        if not _SAFE.match(accession):
            raise UsageError(f"{accession!r} cannot name a family of the store", fix="accessions look like PF00042")
        return self.root / "families" / f"{accession}.sto.gz"

    def profile_path(self, accession: str) -> Path:
        """Return where a family's HMM lies or would lie."""
        self.family_path(accession)
        return self.root / "profiles" / f"{accession}.hmm"

    def __contains__(self, accession: str) -> bool:
        return self.family_path(accession).is_file()

    def accessions(self) -> list[str]:
        """Return the accessions of all families there, sorted."""
        return sorted(p.name.removesuffix(".sto.gz") for p in (self.root / "families").glob("*.sto.gz"))

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

    def write(self, family: Family, stage: str, parameters: dict[str, object]) -> Path:
        """Write a family's record atomically, with its provenance beside it, and return its path."""
        path = self.family_path(family.accession or family.name)
        write_families([family], path)
        write_sidecar(path, stage, parameters)
        return path

    def families(self) -> Iterator[Family]:
        """Yield all families, by accession."""
        for accession in self.accessions():
            yield self.read(accession)

    def clan(self, clan: str) -> list[str]:
        """Return the accessions of the families there that belong to a clan."""
        return [family.accession for family in self.families() if family.clan == clan]
