"""Download of a large file with verification; interrupted downloads are resumed, also by a later process."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import os
import re
from pathlib import Path
from typing import TypedDict, cast

from phylocli.core import console
from phylocli.core.errors import ServiceError
from phylocli.fetch.http import Client, Reply, TransientError
from phylocli.formats.provenance import Source, sidecar_path
from phylocli.formats.streams import write_text
from phylocli.store import read_sidecar

logger = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_PROGRESS = 1 << 20  # minimum progress in bytes after which the number of attempts is reset


class _About(TypedDict, total=False):
    """Metadata of the file that is being downloaded, for resumption."""

    url: str
    size: int | None
    etag: str
    last_modified: str


class NotServedError(ServiceError):
    """The file does not exist on the server."""


def download(client: Client, url: str, target: Path, *, md5: str | None, source: Source) -> Path:
    """Download a file unless it exists; return its path.

    Data are written to `NAME.part`, with metadata in `NAME.part.json`. A later run resumes with `Range` and `If-Range`; if
    the file has changed on the server, the download restarts. The caller must hold a lock that excludes other processes.

    Args:
        client: the HTTP client.
        url: the URL of the file.
        target: the path to write.
        md5: the published MD5 checksum, hexadecimal; None if there is none.
        source: provenance in addition to URL, checksum and time.

    Raises:
        NotServedError: the file does not exist on the server.
        ServiceError: the file could not be downloaded, or its checksum is wrong.
    """
    held = read_sidecar(target).get("source", {})
    if target.is_file() and held.get("url") == url and held.get("bytes") == target.stat().st_size and held.get("md5") == md5:
        logger.debug(f"{target} is already downloaded")
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(client, url, target, md5)
    while True:
        before = transfer.size()
        try:
            client.attempt(target.name, transfer.run)
            break
        except NotServedError:
            raise
        except ServiceError:
            if transfer.size() < before + _PROGRESS or transfer.refused:
                raise
            logger.info(f"{target.name}: resuming after {transfer.size():,} bytes")
    record = {
        "stage": "fetch",
        "source": {
            **source,
            "url": url,
            "bytes": transfer.size(),
            "md5": md5,
            "sha256": transfer.sha256,
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "output": {"name": target.name, "sha256": transfer.sha256},
    }
    write_text(sidecar_path(target), json.dumps(record, indent=2) + "\n")
    transfer.part.replace(target)
    transfer.about.unlink(missing_ok=True)
    return target


class _Transfer:
    """The state of a download, stored on disk so that a later process can resume it."""

    def __init__(self, client: Client, url: str, target: Path, md5: str | None) -> None:
        self.client = client
        self.url = url
        self.md5 = md5
        self.name = target.name
        self.part = target.with_name(f"{target.name}.part")
        self.about = target.with_name(f"{target.name}.part.json")
        self.sha256 = ""
        self.refused = False
        self._mismatches = 0

    def size(self) -> int:
        """Return the number of bytes downloaded so far."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def run(self) -> None:
        """Complete the file, or raise `TransientError` and keep the data received so far."""
        about = self._read_about()
        if about.get("url") != self.url:
            self._restart()
            about = {}
        have = self.size()
        if have and have == about.get("size"):
            self._prove()  # complete, but the process ended before it was renamed
            return
        headers = {"Accept-Encoding": "identity"}
        validator = about.get("etag") or about.get("last_modified")
        # Without a validator, only a published checksum can detect that the file has changed since the first part.
        if have and (validator or self.md5):
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with self.client.open(self.url, headers=headers) as reply:
            if reply.status == 416:
                self._judge_416(reply, have)
                self._prove()
                return
            if reply.status == 404:
                raise NotServedError(f"{self.url} does not exist", fix="check the release, or name another with --release")
            self.client.refuse(reply, self.name)
            self._receive(reply, self._start(reply, have))
        self._prove()

    def _start(self, reply: Reply, have: int) -> int:
        """Return the offset at which the body starts; restart the file if the server sends it from the beginning."""
        if reply.status == 206 and have:
            found = _RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
            if found and int(found.group(1)) == have:
                return have
            self._restart()
            raise TransientError("the server sent another part of the file than requested")
        if reply.status != 200:
            raise TransientError(f"the server answers {reply.status}")
        if have:
            logger.info(f"{self.name}: the server cannot resume; downloading from the beginning")
        self._restart()
        length = reply.headers.get("Content-Length", "")
        etag = reply.headers.get("ETag", "")
        about: _About = {
            "url": self.url,
            "size": int(length) if length.isdigit() else None,
            # A weak ETag does not guarantee identical bytes.
            "etag": "" if etag.startswith("W/") else etag,
            "last_modified": reply.headers.get("Last-Modified", ""),
        }
        write_text(self.about, json.dumps(about) + "\n")
        return 0

    def _receive(self, reply: Reply, start: int) -> None:
        total = self._read_about().get("size")
        with (
            console.progress_task(self.name, total=total, unit="bytes") as task,
            self.part.open("ab") as handle,
        ):
            task.advance(start)
            for data in reply.chunks(self.client.policy.max_release - start):
                handle.write(data)
                task.advance(len(data))
            handle.flush()
            os.fsync(handle.fileno())
        if total is not None and self.size() != total:
            if self.size() > total:
                self._restart()
            raise TransientError(f"received {self.size():,} of {total:,} bytes")

    def _judge_416(self, reply: Reply, have: int) -> None:
        # The requested range starts at the end of the file: the data are complete, or of another version of the file.
        found = re.fullmatch(r"bytes \*/(\d+)", reply.headers.get("Content-Range", "").strip())
        if self.md5 is None and (found is None or int(found.group(1)) != have):
            self._restart()
            raise TransientError("the data received so far belong to another version of the file")

    def _prove(self) -> None:
        """Verify the checksum of the complete file."""
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        with self.part.open("rb") as handle:
            while data := handle.read(1 << 20):
                md5.update(data)
                sha256.update(data)
        if self.md5 is not None and md5.hexdigest() != self.md5:
            self._restart()
            self._mismatches += 1
            if self._mismatches > 1:
                self.refused = True
                raise ServiceError(
                    f"the checksum of {self.name} does not match the published one, after two downloads",
                    why=f"md5 {md5.hexdigest()}, published {self.md5}",
                    fix="the file was not kept; try again later, or use another mirror with --base-url",
                )
            raise TransientError("the checksum does not match the published one", 0.0)
        self.sha256 = sha256.hexdigest()

    def _restart(self) -> None:
        self.part.unlink(missing_ok=True)
        self.about.unlink(missing_ok=True)

    def _read_about(self) -> _About:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(self.about.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return cast(_About, found)
        return {}


__all__ = ["NotServedError", "download"]
