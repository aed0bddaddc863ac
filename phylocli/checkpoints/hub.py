"""Download from the Hugging Face hub: safetensors, JSON and vocabularies of one commit, each verified.

Through `huggingface_hub`, which resumes interrupted downloads and reads `HF_ENDPOINT` (a mirror), `HF_TOKEN` (gated models),
`HF_HUB_OFFLINE` and the proxy variables. A copy in its own cache is used if the hub cannot be reached.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phylocli.checkpoints.loading import CONFIG, INSTALL, TOKENIZER_FILES
from phylocli.checkpoints.store import HubId, Source, source_of, write_source
from phylocli.core import console
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, ServiceError
from phylocli.formats.streams import file_sha256

logger = logging.getLogger(__name__)

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class _File:
    """A file of a repository: its SHA-256 if it is large (LFS), else the SHA-1 of its git blob."""

    name: str
    sha256: str = ""
    blob: str = ""

    def is_intact(self, path: Path) -> bool:
        if self.sha256:
            return file_sha256(path) == self.sha256
        content = path.read_bytes()
        header = b"blob %d\0" % len(content)
        return not self.blob or hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == self.blob


def endpoint() -> str:
    """Return the address of the hub."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def download(identity: HubId, folder: Path) -> Path:
    """Download a checkpoint into a folder, which appears when it is complete; return it.

    An interrupted download continues in `.NAME.part` beside it.

    Raises:
        BadInputError: the model has no weights in safetensors.
        MissingDependencyError: huggingface_hub, a part of `phylocli[plm]`, is not installed.
        ServiceError: the hub cannot be reached, has no such model, or sends damaged files.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        commit, files = _look_up(identity)
    except _UnreachableError as error:
        commit, files = _copy_cached(identity, part, error)
    else:
        there = source_of(folder) if folder.is_dir() else None
        if there is not None and there.commit == commit:
            return folder
        _fetch(identity, commit, files, part)
    digests = {}
    for file in files:
        path = part / file.name
        if not file.is_intact(path):
            path.unlink()
            raise ServiceError(
                f"{file.name} of {identity} is damaged", why="its checksum is not the one on the hub", fix="try again"
            )
        digests[file.name] = file.sha256 or file_sha256(path)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # huggingface_hub's notes for resuming
    write_source(part, Source(str(identity), commit, digests))
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
    logger.info(f"{identity}, commit {commit[:12]}: {folder}")
    return folder


class _UnreachableError(Exception):
    """There is no connection to the hub."""


def _look_up(identity: HubId) -> tuple[str, list[_File]]:
    """Return the commit of a revision, and the files to download."""
    hub = _huggingface_hub()
    with _explained(identity):
        info = hub.HfApi(endpoint=endpoint()).model_info(
            identity.name, revision=identity.revision or None, files_metadata=True, timeout=10
        )
    found = {
        item.rfilename: _File(
            item.rfilename,
            str(getattr(item.lfs, "sha256", None) or "") if item.lfs else "",
            str(item.blob_id or "") if not item.lfs else "",
        )
        for item in info.siblings or []
    }
    return str(info.sha), [found[name] for name in _wanted(found, identity)]


def _wanted(names: Iterable[str], identity: HubId) -> list[str]:
    """Return the files of a repository that are needed.

    Raises:
        BadInputError: it has no configuration, or no weights in safetensors.
    """
    there = {name for name in names if "/" not in name}
    weights = [name for name in ("model.safetensors",) if name in there]
    if not weights and _INDEX in there:
        weights = [_INDEX, *sorted(n for n in there if n.startswith("model-") and n.endswith(".safetensors"))]
    if not weights:
        pickles = sorted(name for name in there if name.endswith(_PICKLES))
        raise BadInputError(
            f"{identity} has no weights in safetensors" + (f", only {', '.join(pickles)}" if pickles else ""),
            why="pickled weights can run code when they are read, and are never loaded" if pickles else None,
            fix=f"look for a revision with safetensors at {endpoint()}/{identity.name}/discussions, such as "
            f"{identity.name}@refs/pr/1; or, if you trust the file, convert it with save_pretrained() of transformers",
        )
    if CONFIG not in there:
        raise BadInputError(f"{identity} has no {CONFIG}", fix="name a model in the format of transformers")
    return [CONFIG, *weights, *sorted(there & {*TOKENIZER_FILES, "README.md"})]


def _fetch(identity: HubId, commit: str, files: list[_File], part: Path) -> None:
    hub = _huggingface_hub()
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    silent = are_progress_bars_disabled()
    if not console.progress_is_shown():
        disable_progress_bars()
    try:
        with _explained(identity):
            for file in files:
                hub.hf_hub_download(identity.name, file.name, revision=commit, local_dir=part, endpoint=endpoint())
    except _UnreachableError as error:
        raise _no_hub(identity, str(error)) from error
    finally:
        if not silent:
            enable_progress_bars()


def _copy_cached(identity: HubId, part: Path, failure: _UnreachableError) -> tuple[str, list[_File]]:
    """Copy a model from the cache of huggingface_hub; return its commit and files.

    Raises:
        ServiceError: it is not in that cache.
    """
    hub = _huggingface_hub()
    config = hub.try_to_load_from_cache(identity.name, CONFIG, revision=identity.revision or None)
    if not isinstance(config, str):
        raise _no_hub(identity, str(failure)) from failure
    snapshot = Path(config).parent
    names = _wanted([path.name for path in snapshot.iterdir() if path.is_file()], identity)
    part.mkdir(parents=True, exist_ok=True)
    files = []
    for name in names:
        blob = (snapshot / name).resolve()
        shutil.copyfile(blob, part / name)
        files.append(_File(name, blob.name if len(blob.name) == 64 else "", blob.name if len(blob.name) == 40 else ""))
    logger.info(f"{identity}: no connection to the hub; using the copy in {snapshot}")
    return snapshot.name, files


@contextlib.contextmanager
def _explained(identity: HubId) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours.

    Raises:
        ServiceError: the hub answered, but not with the model.
        _UnreachableError: there was no answer.
    """
    from huggingface_hub import errors

    page = f"{endpoint()}/{identity.name}"
    try:
        yield
    except errors.GatedRepoError as error:
        raise ServiceError(
            f"{identity.name} is gated: its authors give access on request",
            fix=f"accept the terms at {page}, then set HF_TOKEN to an access token of your account",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ServiceError(
            f"the hub has no model {identity.name!r}",
            why="there is neither a folder of that name, nor a public model on the hub",
            fix=f"check the spelling at {endpoint()}/models; for a private model set HF_TOKEN",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ServiceError(
            f"{identity.name} has no revision {identity.revision!r}", fix=f"its revisions are listed at {page}/commits"
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status is None or status >= 500:
            raise _UnreachableError(f"the hub answers {status}") from error
        raise ServiceError(
            f"{identity} could not be downloaded", why=str(error).strip().split("\n", 1)[0], fix="try again later"
        ) from error
    except PhylocliError:
        raise
    except Exception as error:
        if _is_network(error):
            raise _UnreachableError(str(error).strip().split("\n", 1)[0] or type(error).__name__) from error
        raise


def _is_network(error: BaseException) -> bool:
    """Return whether there was no connection: offline mode, name resolution, refused or broken connections."""
    # huggingface_hub has changed its HTTP library with each of its versions; the names of these classes have stayed.
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, OSError) or bool(names & {"HTTPError", "TransportError", "OfflineModeIsEnabled"})


def _no_hub(identity: HubId, why: str) -> ServiceError:
    from phylocli.checkpoints.store import install_root

    page = f"{endpoint()}/{identity.name}/tree/{identity.revision or 'main'}"
    return ServiceError(
        f"there is no folder {identity.name!r}, and as a model of the hub it could not be downloaded from {endpoint()}",
        why=why,
        fix=f"check the network (HF_ENDPOINT names a mirror); or download {CONFIG}, model.safetensors and the files of the "
        f"tokenizer (those there are of {', '.join(TOKENIZER_FILES)}) from {page} on another computer, and put them into "
        f"{install_root() / identity.folder_name}",
    )


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            "models of the hub need huggingface_hub, which is not installed", fix=INSTALL
        ) from error
    return huggingface_hub
