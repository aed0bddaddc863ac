"""Objects of cloud storage and files of web servers, named by URL: `s3://bucket/key`, `gs://…`, `https://…` (by fsspec).

A file is uploaded when it is complete. In object storage (`s3://`, `gs://`), readers never see an incomplete object; on
disks and other servers (`file://`, `sftp://`), a reader may see the beginning of a file during the upload.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from phylocli.core.errors import BadInputError, MissingDependencyError, PhylocliError, ServiceError, UsageError
from phylocli.formats.streams.paths import PathLike, is_url, without_secrets
from phylocli.formats.streams.text import display_name


def join(folder: PathLike, name: str) -> Path | str:
    """Return the place of a file in a folder, which may be a URL."""
    return f"{os.fspath(folder).rstrip('/')}/{name}" if is_url(folder) else Path(folder) / name


def listing(folder: PathLike) -> dict[str, int]:
    """Return name and size in bytes of each file in a folder, which may be a URL; none if there is no such folder."""
    if not is_url(folder):
        return {path.name: path.stat().st_size for path in Path(folder).glob("*") if path.is_file()}
    with _explained(folder, "cannot be listed"):
        system, place = _system(folder)
        system.invalidate_cache()
        try:
            found = system.ls(place, detail=True)
        except FileNotFoundError:
            return {}
        return {item["name"].rstrip("/").rsplit("/", 1)[-1]: item["size"] for item in found if item["type"] == "file"}


def matches(pattern: PathLike) -> list[str]:
    """Return the URLs that match a pattern such as `s3://bucket/*.fasta`, sorted."""
    with _explained(pattern, "cannot be listed"):
        system, place = _system(pattern)
        return [system.unstrip_protocol(found) for found in sorted(system.glob(place))]


def remove(path: PathLike) -> None:
    """Delete a file or an object, if it exists."""
    if not is_url(path):
        Path(path).unlink(missing_ok=True)
        return
    with _explained(path, "cannot be deleted"), contextlib.suppress(FileNotFoundError):
        system, place = _system(path)
        system.rm_file(place)


def check_writable(url: PathLike) -> None:
    """Check that a URL can be written, before the work whose result it receives, by an empty object beside it.

    Raises:
        UsageError: it is on a web server.
        MissingDependencyError: the library for this kind of URL is not installed.
        ServiceError: the service does not answer, or refuses.
    """
    if os.fspath(url).lower().startswith(("http:", "https:")):
        raise UsageError(f"{display_name(url)}: web servers are for reading", fix="name a file, or an object (s3://…)")
    with _explained(url, "cannot be written"):
        system, place = _system(url)
        probe = f"{place}.{secrets.token_hex(8)}.probe"
        system.pipe_file(probe, b"")
        with contextlib.suppress(PermissionError):  # who may write may not delete
            system.rm_file(probe)


def upload(file: Path, url: PathLike) -> None:
    """Copy a file to a URL."""
    with _explained(url, "cannot be written"):
        system, place = _system(url)
        system.put_file(str(file), place)


@contextmanager
def open_remote(url: PathLike) -> Iterator[BinaryIO]:
    """Open an object for reading: of buffered bytes, and seekable if the service is.

    Raises:
        BadInputError: it does not exist.
        MissingDependencyError: the library for this kind of URL is not installed.
        ServiceError: the service does not answer, or refuses.
    """
    with contextlib.ExitStack() as stack:
        with _explained(url, "cannot be read"):
            system, place = _system(url)
            stream = stack.enter_context(system.open(place, "rb"))
        yield io.BufferedReader(_Raw(stream, url), 1 << 20)


class _Raw(io.RawIOBase):
    """What fsspec opens, with our errors; not all of it is a complete stream of the standard library."""

    def __init__(self, stream: Any, url: PathLike) -> None:
        self._stream, self._url = stream, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._stream.seekable())

    def readinto(self, buffer: Any) -> int:
        with _explained(self._url, "cannot be read"):
            data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._stream.seek(offset, whence))

    def tell(self) -> int:
        return int(self._stream.tell())


_CLOUD = "pip install 'phylocli[cloud]'"
_PACKAGES = {"s3": _CLOUD, "http": _CLOUD, "https": _CLOUD, "gs": "pip install gcsfs", "gcs": "pip install gcsfs"}


def _system(url: PathLike) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingDependencyError(f"{display_name(url)}: URLs need fsspec", fix=_CLOUD) from error
    try:
        system, place = fsspec.core.url_to_fs(os.fspath(url))
    except ImportError as error:  # "Install s3fs to access S3"
        kind = os.fspath(url).split("://", 1)[0]
        fix = _PACKAGES.get(kind, "install the package that the message names")
        raise MissingDependencyError(f"{display_name(url)}: {error}", fix=fix) from error
    except ValueError as error:  # "Protocol not known: …"
        raise BadInputError(
            f"{display_name(url)}: unknown kind of URL", why=str(error), fix="use s3://, gs:// or https://"
        ) from error
    return system, str(place)


@contextmanager
def _explained(url: PathLike, what: str) -> Iterator[None]:
    """Turn errors of the libraries, which have no common class, into ours."""
    try:
        yield
    except PhylocliError:
        raise
    except FileNotFoundError as error:
        raise BadInputError(f"{display_name(url)}: there is no such object", fix="check the URL") from error
    except Exception as error:
        text = without_secrets(str(error).split("\n", 1)[0] or type(error).__name__)
        refused = isinstance(error, PermissionError) or "credentials" in text.lower()
        raise ServiceError(
            f"{display_name(url)} {what}",
            why=text,
            fix="check the credentials, such as AWS_PROFILE or AWS_ACCESS_KEY_ID, and their rights"
            if refused
            else "check the URL and the connection, and run the same command again",
        ) from error
