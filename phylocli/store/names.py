"""Valid names in the store, and the paths of its files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import cast

from phylocli.core.errors import UsageError
from phylocli.formats.provenance import Record, sidecar_path
from phylocli.formats.streams import PathLike

# Names from the network never become paths: accessions in file names consist of letters, digits, `_`, `-` and inner dots
# only.
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def default_root() -> Path:
    """Return the store's folder: `$PHYLOCLI_STORE`, else the platform's user data folder."""
    named = os.environ.get("PHYLOCLI_STORE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_data_dir("phylocli", appauthor=False)) / "store"


def family_path(root: Path, accession: str) -> Path:
    """Return the path of a family's record, whether it exists or not; see `Store.family_path`."""
    return root / "families" / f"{checked(accession)}.sto.gz"


def profile_path(root: Path, accession: str) -> Path:
    """Return the path of a family's HMM, whether it exists or not; see `Store.profile_path`."""
    return root / "profiles" / f"{checked(accession)}.hmm"


def is_safe(name: str) -> bool:
    """Return whether an accession can be a file name."""
    return _SAFE.fullmatch(name) is not None


def checked(name: str) -> str:
    """Return a name that is valid as a file name.

    Raises:
        UsageError: the name is not valid.
    """
    if not is_safe(name):
        raise UsageError(f"{name[:100]!r} cannot name a family of the store", fix="accessions look like PF00042")
    return name


def read_sidecar(artefact: PathLike) -> Record:
    """Return the provenance of a file, or {} if there is none that can be read."""
    try:
        found = json.loads(sidecar_path(artefact).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast(Record, found) if isinstance(found, dict) else {}
