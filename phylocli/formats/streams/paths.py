"""Names of inputs and outputs."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path, PurePath

from phylocli.core.errors import UsageError

PathLike = str | os.PathLike[str]
STDIO = "-"

PACKED = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed outputs."""

NAME_BYTES = 255
"""Maximum length of a file name in bytes on common file systems."""


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://)[^/\s]*@")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+://[^?#'\"]*)[?#][^\s'\"]*")


def is_url(path: PathLike | None) -> bool:
    """Return whether a path is a URL, such as `s3://bucket/seqs.fasta`."""
    return path is not None and _URL.match(os.fsdecode(path)) is not None


def without_secrets(text: str) -> str:
    """Return a URL, or a text that contains one, without user, password, query and fragment, which may grant access."""
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def check_local(path: PathLike) -> None:
    """Check that an output is no URL, also none whose slashes `Path` has joined, which would be a folder `s3:`.

    Raises:
        UsageError: it is one.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fsdecode(path)):
        name = without_secrets(os.fsdecode(path))
        raise UsageError(f"{name}: this output is written to disks only", fix="name a local one, and copy it afterwards")


def fitting_name(name: str, suffix: str) -> str:
    """Return `name` followed by `suffix`; a name that would be too long is cut and a checksum of it appended."""
    data = os.fsencode(name)
    room = NAME_BYTES - len(os.fsencode(suffix))
    if len(data) <= room:
        return name + suffix
    digest = hashlib.sha256(data).hexdigest()[:12]
    return data[: room - len(digest) - 1].decode("utf-8", "ignore") + f"-{digest}{suffix}"


def unpacked_name(path: PathLike) -> PurePath:
    """Return a path without a compression suffix: `gene.aln.fa` for `gene.aln.fa.gz`."""
    named = PurePath(path)
    return named.with_suffix("") if named.suffix.lower() in PACKED else named


def suffix_of(path: PathLike) -> str:
    """Return the suffix of a file in lower case, ignoring a compression suffix: `.fa` for `gene.aln.FA.gz`."""
    return unpacked_name(path).suffix.lower()


def cache_folder() -> Path:
    """Return the folder for data that can be recomputed: `$PHYLOCLI_CACHE`, else the platform's user cache folder."""
    named = os.environ.get("PHYLOCLI_CACHE")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("phylocli", appauthor=False))


def is_file(target: PathLike | None) -> bool:
    """Return whether an output is a regular file or a folder, or does not exist yet; these are written atomically.

    Standard output, devices and named pipes are written to directly; URLs receive what is complete.
    """
    if (
        target is None
        or str(target) == STDIO
        or is_url(target)
        or str(target).startswith(("/dev/fd/", "/dev/std", "/proc/"))
    ):
        return False
    try:
        mode = Path(target).stat().st_mode
    except OSError:
        return True  # does not exist yet
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
