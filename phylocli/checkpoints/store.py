"""Folders of models, and checkpoints of the Hugging Face hub in them, pinned to a commit and verified.

A checkpoint `ORG/NAME` is a folder `ORG--NAME` (`ORG--NAME@REVISION` if a revision is named) with the files of its
repository and `source.json`: id, commit, and SHA-256 of each file. A folder of files downloaded by hand works as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats.streams import explain_os_error, file_sha256, write_text

VARIABLE = "PHYLOCLI_MODELS"
"""Environment variable: folders of models, separated as in PATH."""

CONFIG = "config.json"
SOURCE = "source.json"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "spiece.model"),
)
_FITTED = re.compile(r"(homology|background)(-layer\d+)?\.safetensors")

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
"""Suffixes of weights whose formats can contain code."""

_PREFIX = "hf:"
# The hub's own rules: no `--` and no `..`, and neither part ends in a dot or a hyphen.
_PART = r"[A-Za-z0-9](?:(?!--|\.\.)[A-Za-z0-9_.-]){0,94}(?<![.-])"
_NAME = re.compile(f"{_PART}/{_PART}")
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
    return roots()[0]


def roots() -> list[Path]:
    """Return the folders of models that the user has: those of `$PHYLOCLI_MODELS`, then the user data folder."""
    import platformdirs

    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*named, Path(platformdirs.user_data_dir("phylocli", appauthor=False)) / "models"]


def parse_id(text: str, revision: str = "") -> HubId | None:
    """Return a hub id written as `hf:ORG/NAME[@REVISION]` or `ORG/NAME[@REVISION]`; None if it is written as a path.

    Text that could be a path, because its first folder exists, is an id only with `hf:`.

    Raises:
        UsageError: text with `hf:` that is not an id.
    """
    if text.startswith(_PREFIX):
        return hub_id(text, revision)
    found = read_id(text, revision)
    return None if found is None or Path(found.name.split("/", 1)[0]).exists() else found


def hub_id(text: str, revision: str = "") -> HubId:
    """Return a hub id, written with or without `hf:`, whatever folders there are.

    Raises:
        UsageError: it is not an id.
    """
    found = read_id(text, revision)
    if found is None:
        raise UsageError(
            f"{text!r} is not the id of a model on the hub", fix="write ORG/NAME, hf:ORG/NAME or hf:ORG/NAME@REVISION"
        )
    return found


def read_id(text: str, revision: str = "") -> HubId | None:
    """Return the id that a text is, with or without `hf:`; None if it is none. The revision `main` is not kept."""
    name, _, named = text.removeprefix(_PREFIX).partition("@")
    chosen = named or revision
    found = HubId(name, "" if chosen == "main" else chosen)
    known = _NAME.fullmatch(name) and ".." not in text and (not found.revision or _REVISION.fullmatch(found.revision))
    return found if known else None


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
        BadInputError: a file is missing or has changed, or one was added that transformers would read.
    """
    source = source_of(folder)
    if source is not None:
        read = {*(path.name for path in weight_files(folder)), INDEX, *TOKENIZER_FILES, "adapter_config.json"}
        for name in sorted(read - source.files.keys()):
            if (folder / name).exists():
                raise BadInputError(
                    f"{folder / name} is not one of the files that were downloaded from {source}",
                    fix="remove it, or copy the model to a folder of your own, without source.json, and name that",
                )
    for name, digest in source.files.items() if source else ():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise BadInputError(
                f"{path} is {'damaged' if path.is_file() else 'missing'}",
                why=f"it is not the file that was downloaded from {source}",
                fix=f"phylocli models rm {source.id if source else ''}, then use it again with a network",
            )
    return source


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights of a checkpoint, without those that were fitted to it."""
    return [path for path in sorted(folder.glob("*.safetensors")) if not _FITTED.fullmatch(path.name)]


def fitted_files(folder: Path) -> list[Path]:
    """Return the files that phylocli has fitted to a model, and written beside its own."""
    return [path for path in sorted(folder.glob("*.safetensors")) if _FITTED.fullmatch(path.name)]


def locate(identity: HubId) -> Path | None:
    """Return the folder of a checkpoint that is already there; None if it has to be downloaded.

    A commit is found under any name that it was downloaded by.
    """
    for root in roots():
        folder = root / identity.folder_name
        if (folder / "config.json").is_file():
            return folder
    return of_commit(identity.name, identity.revision) if identity.revision else None


def of_commit(name: str, commit: str) -> Path | None:
    """Return the folder of a commit of a model that was downloaded under any of its names; None if there is none."""
    for root in roots():
        for folder in sorted(root.glob(f"{HubId(name).folder_name}*")):
            if (folder / SOURCE).is_file() and str(source_of(folder)) == str(Source(name, commit)):
                return folder
    return None


def part_of(folder: Path) -> Path:
    """Return the place of an unfinished download, beside the folder that it will become."""
    return folder.with_name(f".{folder.name}.part")


def discard(folder: Path) -> None:
    """Delete a folder, or a symbolic link to one; what it points to stays.

    Raises:
        PhylocliError: it cannot be deleted.
    """
    try:
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise explain_os_error(error, folder) from error
