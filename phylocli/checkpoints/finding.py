"""From what a user writes to a checkpoint's folder: a folder, or a model of the hub, which is downloaded once."""

from __future__ import annotations

from pathlib import Path

from phylocli.checkpoints.hub import download
from phylocli.checkpoints.loading import import_transformers
from phylocli.checkpoints.store import HubId, install_root, locate, parse_id
from phylocli.core.errors import UsageError
from phylocli.formats.streams import locks
from phylocli.formats.streams.writing import explain_os_error


def find(text: str, revision: str = "") -> Path:
    """Return the folder of a checkpoint: a folder, or a model of the hub, downloaded at its first use.

    Args:
        text: a folder, or an id as in `parse_id`.
        revision: of an id that does not name one.

    Raises:
        UsageError: neither a folder nor an id.
        MissingDependencyError: transformers is not installed, so nothing is downloaded.
        ServiceError: the hub cannot be reached, or has no such model.
        BadInputError: the model has no weights in safetensors.
    """
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder
    identity = parse_id(text, revision)
    if identity is None:
        raise UsageError(
            f"there is no folder {text!r}, and it is not the id of a model on the hub",
            fix="name the folder of a checkpoint, or an id such as facebook/esm2_t6_8M_UR50D",
        )
    there = locate(identity)
    if there is None:
        import_transformers()  # before gigabytes are downloaded
    return there or _downloaded(identity, update=False)


def add(identity: HubId) -> Path:
    """Download a checkpoint, or replace it if its branch has moved; return its folder.

    Raises:
        ServiceError: the hub cannot be reached, or has no such model.
        BadInputError: the model has no weights in safetensors.
        UsageError: there is a folder of that name with files that were not downloaded.
        PhylocliError: the folder of models cannot be written.
    """
    return _downloaded(identity, update=True)


def _downloaded(identity: HubId, *, update: bool) -> Path:
    root = install_root()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, root) from error
    with locks.waiting(root / f".{identity.folder_name}.lock", f"downloading {identity}"):
        found = None if update else locate(identity)  # another process may have downloaded it meanwhile
        return found or download(identity, root / identity.folder_name)
