"""Download from the Hugging Face hub: safetensors, JSON and vocabularies of one commit, each verified.

Through `huggingface_hub`, which resumes interrupted downloads and reads `HF_ENDPOINT` (a mirror), `HF_TOKEN` (gated models),
`HF_HUB_OFFLINE` and the proxy variables. A copy in its own cache is used if the hub cannot be reached.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phylocli.checkpoints import store
from phylocli.checkpoints.loading import INSTALL
from phylocli.checkpoints.store import CONFIG, INDEX, PICKLES, SOURCE, TOKENIZER_FILES, HubId, Source
from phylocli.core import console
from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, ServiceError, UsageError
from phylocli.formats.streams import explain_os_error, file_sha256
from phylocli.formats.streams.writing import replace_directory

logger = logging.getLogger(__name__)

# Errors of the disk, not of the connection.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO, errno.ENOTDIR, errno.EISDIR)


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

    An interrupted download continues in `.NAME.part` beside it. A folder with an earlier commit is replaced; what was fitted
    to its weights is kept if the new commit has the same. Without a connection it stays as it is.

    Raises:
        BadInputError: the model has no weights in safetensors.
        MissingDependencyError: huggingface_hub, a part of `phylocli[plm]`, is not installed.
        OutputError: the disk is full, or the folder cannot be written.
        ServiceError: the hub cannot be reached, has no such model, publishes no checksums, or sends damaged files.
        UsageError: the folder contains files that were not downloaded.
    """
    part = store.part_of(folder)
    there = store.source_of(folder)
    if there is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} would be replaced",
            why=f"it has no {SOURCE}: its files were not downloaded by phylocli",
            fix="rename or remove it, then add the model",
        )
    try:
        commit, files = _look_up(identity)
    except _UnreachableError as error:
        if there is not None:
            logger.warning(
                f"{identity}: no connection to the hub; keeping commit {there.commit[:12]}, which may be outdated"
            )
            return folder
        commit, files = _copy_cached(identity, part, error)
    else:
        if there is not None and (there.commit, there.files.keys()) == (commit, {file.name for file in files}):
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
    if missing := _shards(part) - digests.keys():
        raise ServiceError(f"{identity} lacks {', '.join(sorted(missing))}", why=f"{INDEX} names it", fix="try again later")
    for path in part.iterdir():  # of an interrupted download of another commit, and huggingface_hub's notes for resuming
        if path.name not in digests:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    source = Source(str(identity), commit, digests)
    store.write_source(part, source)
    _install(part, folder, keep=there is not None and _weights(there) == _weights(source))
    logger.info(f"{identity}, commit {commit[:12]}: {folder}")
    return folder


def _weights(source: Source) -> dict[str, str]:
    return {name: digest for name, digest in source.files.items() if name.endswith(".safetensors")}


def _install(part: Path, folder: Path, *, keep: bool) -> None:
    """Put a complete download into its place, with the fitted files of the folder there if `keep`."""
    fitted = store.fitted_files(folder)
    if fitted and not keep:
        logger.warning(f"{folder.name} has new weights: {', '.join(path.name for path in fitted)} must be fitted again")
    for path in fitted if keep else ():
        shutil.copy2(path, part / path.name)
    replace_directory(part, folder)


def _shards(folder: Path) -> set[str]:
    """Return the files that the index of a folder's weights names; none if it has no index.

    Raises:
        BadInputError: the index is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        return set()
    try:
        return {str(name) for name in json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path} is damaged", why=str(error), fix="delete it, and add the model again") from error


class _UnreachableError(Exception):
    """There is no connection to the hub."""


def _look_up(identity: HubId) -> tuple[str, list[_File]]:
    """Return the commit of a revision, and the files to download."""
    hub = _huggingface_hub()
    with _explained(identity):
        try:
            info = hub.HfApi(endpoint=endpoint()).model_info(
                identity.name, revision=identity.revision or None, files_metadata=True, timeout=10
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # the library does not check what it reads
            raise _UnreachableError(f"{endpoint()} does not answer as the hub does") from error
    found = {
        item.rfilename: _File(
            item.rfilename,
            str(getattr(item.lfs, "sha256", None) or "") if item.lfs else "",
            str(item.blob_id or "") if not item.lfs else "",
        )
        for item in info.siblings or []
    }
    files = [found[name] for name in _wanted(found, identity)]
    for file in files:
        if not (file.sha256 or file.blob):
            raise ServiceError(
                f"{endpoint()} publishes no checksum of {file.name} of {identity}",
                why="a download without one could not be verified",
                fix="use another mirror (HF_ENDPOINT), or download the files by hand and name their folder",
            )
    return str(info.sha), files


def _wanted(names: Iterable[str], identity: HubId) -> list[str]:
    """Return the files of a repository that are needed.

    Raises:
        BadInputError: it has no configuration, or no weights in safetensors.
    """
    there = {name for name in names if "/" not in name}
    weights = [name for name in ("model.safetensors",) if name in there]
    if not weights and INDEX in there:
        weights = [INDEX, *sorted(n for n in there if n.startswith("model-") and n.endswith(".safetensors"))]
    if not weights:
        pickles = sorted(name for name in there if name.endswith(PICKLES))
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
        ServiceError: it is not in that cache, or not completely.
    """
    hub = _huggingface_hub()
    config = hub.try_to_load_from_cache(identity.name, CONFIG, revision=identity.revision or None)
    if not isinstance(config, str):
        raise _no_hub(identity, str(failure)) from failure
    snapshot = Path(config).parent
    cached = [path.name for path in snapshot.iterdir() if path.is_file()]
    try:
        names = _wanted(cached, identity)
        complete = _shards(snapshot) <= set(names) and _has_tokenizer(snapshot)
    except BadInputError:
        complete = False
    if not complete:
        raise _no_hub(identity, f"{failure}; the copy in {snapshot} is incomplete") from failure
    part.mkdir(parents=True, exist_ok=True)
    same = store.of_commit(identity.name, snapshot.name)
    source = store.source_of(same) if same else None
    recorded = source.files if source else {}
    files = []
    for name in names:
        blob = (snapshot / name).resolve()
        shutil.copyfile(blob, part / name)
        sha256, sha1 = (blob.name if re.fullmatch(f"[0-9a-f]{{{digits}}}", blob.name) else "" for digits in (64, 40))
        files.append(_File(name, sha256 or recorded.get(name, ""), sha1))
    logger.info(f"{identity}: no connection to the hub; using the copy in {snapshot}")
    if unknown := [file.name for file in files if not (file.sha256 or file.blob)]:
        logger.warning(
            f"{identity}: not verified, because the cache has no checksums of them: {', '.join(unknown)}. "
            f"To verify them, run 'phylocli models rm {identity}', then 'phylocli models add {identity}' with a network"
        )
    return snapshot.name, files


def _has_tokenizer(snapshot: Path) -> bool:
    """Return whether a folder has a vocabulary, or is of ESM, whose vocabulary is known."""
    if any((snapshot / name).is_file() for name in ("tokenizer.json", "vocab.txt", "spiece.model")):
        return True
    try:
        return bool(json.loads((snapshot / CONFIG).read_text(encoding="utf-8")).get("model_type") == "esm")
    except (ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _explained(identity: HubId) -> Iterator[None]:
    """Turn the errors of huggingface_hub into ours.

    Raises:
        OutputError: the disk is full, or cannot be written.
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
        if status in (401, 403):
            fix = f"set HF_TOKEN to an access token that may read {page}, or HF_ENDPOINT to another mirror"
        elif status == 404:
            fix = f"check the spelling at {endpoint()}/models, and HF_ENDPOINT if it is set"
        else:
            fix = "check the settings of the proxy" if status == 407 else "try again later"
        why = f"{endpoint()} answers {status} {error.response.reason_phrase}"
        raise ServiceError(f"{identity} could not be downloaded", why=why, fix=fix) from error
    except PhylocliError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise explain_os_error(error, error.filename or store.install_root()) from error
        if _is_network(error):
            raise _UnreachableError(str(error).strip().split("\n", 1)[0] or type(error).__name__) from error
        raise


def _is_network(error: BaseException) -> bool:
    """Return whether there was no connection: offline mode, name resolution, refused or broken connections."""
    # huggingface_hub has changed its HTTP library with each of its versions; the names of these classes have stayed.
    names = {base.__name__ for base in type(error).__mro__}
    return isinstance(error, OSError) or bool(names & {"HTTPError", "TransportError", "OfflineModeIsEnabled"})


def _no_hub(identity: HubId, why: str) -> ServiceError:
    page = f"{endpoint()}/{identity.name}/tree/{identity.revision or 'main'}"
    return ServiceError(
        f"there is no folder {identity.name!r}, and as a model of the hub it could not be downloaded from {endpoint()}",
        why=why,
        fix=f"check the network (HF_ENDPOINT names a mirror); or download {CONFIG}, model.safetensors and the files of the "
        f"tokenizer (those there are of {', '.join(TOKENIZER_FILES)}) from {page} on another computer, and put them into "
        f"{store.install_root() / identity.folder_name}",
    )


def _huggingface_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            "models of the hub need huggingface_hub, which is not installed", fix=INSTALL
        ) from error
    return huggingface_hub
