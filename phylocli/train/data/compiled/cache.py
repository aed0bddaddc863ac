"""The cache of compiled data sets, keyed by the content of the inputs; concurrent runs wait for the process that compiles.

The folder is `$PHYLOCLI_CACHE`, or else the platform's cache folder (on Linux `~/.cache/phylocli`). It may be deleted at any
time. Data sets that have not been used for 30 days are removed when a new one is compiled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

from phylocli import __version__
from phylocli.formats.streams import (
    InputRecord,
    PathLike,
    at_rest,
    atomic_directory,
    cache_folder,
    display_name,
    file_sha256,
    locks,
    open_input,
    record_input,
    recording_inputs,
)
from phylocli.train.data.arrays import DamagedError, read_manifest, verify
from phylocli.train.data.compiled.build import compile_inputs
from phylocli.train.data.compiled.reader import Compiled

logger = logging.getLogger(__name__)

_reported: set[Path] = set()
"""Folders that this process has reported."""

FORMAT = 3
"""Version of the array format, part of the key, so that arrays of older versions are not read."""

UNUSED_DAYS = 30.0

Cache = PathLike | bool
"""The cache folder; True is the default folder, and with False compiled data are deleted at the end of the run."""


def open_compiled(inputs: list[PathLike], alphabet: str = "protein", cache: Cache = True) -> Compiled:
    """Return the compiled data set of some inputs, compiling them unless they are in the cache.

    Args:
        inputs: Stockholm records, FASTA families or pairs tables; `-` is standard input.
        alphabet: `protein` or `dna`.
        cache: the cache folder.

    Raises:
        BadInputError: an input cannot be read, or a family occurs twice.
    """
    with contextlib.ExitStack() as stack:
        sources = [(stack.enter_context(at_rest(source)), display_name(source)) for source in inputs]
        facts = {
            "format": FORMAT,
            "version": __version__,
            "alphabet": alphabet,
            "inputs": sorted([_fingerprint(*source), Path(source[1]).name] for source in sources),
        }
        root = cache_folder() if cache is True else None if cache is False else Path(cache)
        if root is not None:
            try:
                (root / "corpora").mkdir(parents=True, exist_ok=True)
                (root / "corpora").joinpath(f".{os.getpid()}").touch()
                (root / "corpora").joinpath(f".{os.getpid()}").unlink()
            except OSError as error:
                logger.warning(f"cannot write to the cache {root} ({error.strerror}); compiling families for this run only")
                root = None
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        if root is None:
            folder = Path(tempfile.mkdtemp(prefix="phylocli-corpus-"))
            try:
                _build(sources, folder / key, alphabet, facts)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            compiled = Compiled(folder / key)
            weakref.finalize(compiled, shutil.rmtree, folder, ignore_errors=True)
            return compiled
        return _cached(sources, root / "corpora", key, alphabet, facts)


def _cached(sources: list[tuple[Path, str]], root: Path, key: str, alphabet: str, facts: dict[str, object]) -> Compiled:
    folder = root / key
    with locks.waiting(root / f"{key}.lock", "compiles these families"):
        if folder.exists():
            try:
                verify(folder)
                _report(folder, "using the compiled data in")
            except DamagedError as error:
                logger.warning(f"{error.what}; recompiling the families")
                shutil.rmtree(folder)
        if not folder.exists():
            _clear(root, key)
            _build(sources, folder, alphabet, facts)
            _report(folder, "compiled in")
        (folder / "used").touch()
        return Compiled(folder)


def _report(folder: Path, what: str) -> None:
    """Log where the compiled data are, once in a process: the runs of a sweep open them one after the other."""
    logger.log(logging.DEBUG if folder in _reported else logging.INFO, f"families: {what} {folder}")
    _reported.add(folder)


def _build(sources: list[tuple[Path, str]], folder: Path, alphabet: str, facts: dict[str, object]) -> None:
    # `_fingerprint` has recorded the inputs for provenance: discard the records of this second reading.
    with atomic_directory(folder) as part, recording_inputs():
        compile_inputs(sources, part, alphabet, facts)


def _clear(root: Path, key: str) -> None:
    """Remove partial builds of this data set left by killed processes, and data sets unused for `UNUSED_DAYS`."""
    for left in root.glob(f".{key}.*"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in root.iterdir():
        used = folder / "used"
        if used.is_file() and time.time() - used.stat().st_mtime > UNUSED_DAYS * 86400:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".lock").unlink(missing_ok=True)


def contents(root: Path) -> tuple[int, int]:
    """Return the number of data sets in a cache, and their size in bytes."""
    folders = [manifest.parent for manifest in root.glob("corpora/*/manifest.json")]
    return len(folders), sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def _fingerprint(path: Path, name: str) -> str:
    with open_input(path):
        pass  # raises a BadInputError for an unreadable file
    digest = file_sha256(path)
    record_input(InputRecord(name, path.stat().st_size, digest))
    return digest


__all__ = ["Cache", "contents", "open_compiled", "read_manifest"]
