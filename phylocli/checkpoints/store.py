"""Folders of models, and checkpoints of the Hugging Face hub in them, pinned to a commit and verified.

A checkpoint `ORG/NAME` is a folder `ORG--NAME` (`ORG--NAME@REVISION` if a revision is named) with the files of its
repository and `source.json`: id, commit, and SHA-256 of each file. A folder of files downloaded by hand works as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.streams import file_sha256, write_text

VARIABLE = "PHYLOCLI_MODELS"
"""Environment variable: folders of models, separated as in PATH."""

SOURCE = "source.json"
_PREFIX = "hf:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")


@dataclass(frozen=True)
class HubId:
    """A model on the Hugging Face hub.

    Attributes:
        name: `ORG/NAME`.
        revision: branch, tag or commit; empty: the default branch.
    """

    name: str
    revision: str = ""

    def __str__(self) -> str:
        return self.name + (f"@{self.revision}" if self.revision else "")

    @property
    def folder_name(self) -> str:
        """The name of its folder."""
        return str(self).replace("/", "--")


@dataclass(frozen=True)
class Source:
    """Where the files of a checkpoint are from.

    Attributes:
        id: on the hub, as requested.
        commit: of its repository.
        files: SHA-256 of each file.
    """

    id: str
    commit: str
    files: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{_PREFIX}{self.id.split('@', 1)[0]}@{self.commit}"


def install_root() -> Path:
    """Return the folder for new models: the first of `$PHYLOCLI_MODELS`, else `models` in the user data folder."""
    named = _named_roots()
    if named:
        return named[0]
    import platformdirs

    return Path(platformdirs.user_data_dir("phylocli", appauthor=False)) / "models"


def roots() -> list[Path]:
    """Return the folders of models that the user has: those of `$PHYLOCLI_MODELS`, then the user data folder."""
    import platformdirs

    return [*_named_roots(), Path(platformdirs.user_data_dir("phylocli", appauthor=False)) / "models"]


def _named_roots() -> list[Path]:
    return [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]


def parse_id(text: str, revision: str = "") -> HubId | None:
    """Return a hub id written as `hf:ORG/NAME[@REVISION]` or `ORG/NAME[@REVISION]`; None if it is written as a path.

    Text that could be a path, because its first folder exists, is an id only with `hf:`.

    Raises:
        UsageError: text with `hf:` that is not an id.
    """
    explicit = text.startswith(_PREFIX)
    name, _, named = text.removeprefix(_PREFIX).partition("@")
    found = HubId(name, named or ("" if revision == "main" else revision))
    if _NAME.fullmatch(name) and ".." not in text and (not found.revision or _REVISION.fullmatch(found.revision)):
        return found if explicit or not Path(name.split("/", 1)[0]).exists() else None
    if explicit:
        raise UsageError(f"{text!r} is not the id of a model on the hub", fix="write hf:ORG/NAME or hf:ORG/NAME@REVISION")
    return None


def source_of(folder: Path) -> Source | None:
    """Return where the files of a checkpoint are from; None if they were put there by hand.

    Raises:
        BadInputError: the record is damaged.
    """
    path = folder / SOURCE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in content["files"].items()}
        return Source(str(content["id"]), str(content["commit"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix=f"remove {folder} and add the model again") from error


def write_source(folder: Path, source: Source) -> None:
    """Record where the files of a folder are from."""
    write_text(folder / SOURCE, json.dumps(asdict(source), indent=2) + "\n")


def verify(folder: Path) -> Source | None:
    """Compare the files of a checkpoint with their recorded checksums; return their source.

    Raises:
        BadInputError: a file is missing or has changed.
    """
    source = source_of(folder)
    for name, digest in source.files.items() if source else ():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise BadInputError(
                f"{path} is {'damaged' if path.is_file() else 'missing'}",
                why=f"it is not the file that was downloaded from {source}",
                fix=f"phylocli models rm {source.id if source else ''}, then use it again with a network",
            )
    return source


def locate(identity: HubId) -> Path | None:
    """Return the folder of a checkpoint that is already there; None if it has to be downloaded.

    A commit is found under any name that it was downloaded by.
    """
    for root in roots():
        folder = root / identity.folder_name
        if (folder / "config.json").is_file():
            return folder
    wanted = str(Source(identity.name, identity.revision))
    for root in roots():
        for folder in sorted(root.glob(f"{HubId(identity.name).folder_name}*")):
            if identity.revision and (folder / SOURCE).is_file() and str(source_of(folder)) == wanted:
                return folder
    return None


def remove(name: str) -> Path:
    """Delete a model's folder, by the name in listings; return it.

    Raises:
        UsageError: there is no such model in the folders of the user.
    """
    identity = parse_id(f"{_PREFIX}{name.removeprefix(_PREFIX)}") if "/" in name else None
    wanted = identity.folder_name if identity else name
    for root in roots():
        folder = root / wanted
        if wanted and Path(wanted).name == wanted and (folder / "config.json").is_file():
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):
                shutil.rmtree(folder.with_name(f".{folder.name}.part"))
            return folder
    raise UsageError(
        f"there is no model {name!r} to remove",
        why=f"models of the user are in {', '.join(map(str, roots()))}",
        fix="'phylocli models' lists the models",
    )
