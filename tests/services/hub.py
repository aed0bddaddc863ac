"""A stand-in for the Hugging Face hub on loopback: the answers of its API that a download needs.

`GET /api/models/ORG/NAME[/revision/REV]?blobs=true` lists the files of a commit with their sizes and checksums; `HEAD` and
`GET /ORG/NAME/resolve/COMMIT/FILE` send a file, with `X-Repo-Commit`, `ETag` and ranges. `X-Error-Code` says why not.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".model")  # kept in LFS, whose ETag is the SHA-256


@dataclass
class Repository:
    """A model: its files at each commit; revisions are names of commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def commit(self, folder: Path, revision: str = "main", **changed: bytes) -> str:
        """Add a commit of a folder's files, with some of them changed, as a revision."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        files.update({name.replace("__", "."): content for name, content in changed.items()})
        digest = hashlib.sha1(b"".join(name.encode() + content for name, content in files.items())).hexdigest()
        self.commits[digest] = files
        self.revisions[revision] = digest
        return digest


class Hub:
    """The server; `requests` are the paths that were asked for."""

    def __init__(self) -> None:
        self.models: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.publishes_checksums = True
        self.damaged: set[str] = set()  # files that are sent with one byte changed

    def __enter__(self) -> Hub:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None: ...

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_GET(self) -> None:
                hub._answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.requests.append(path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(request, found[1], found[2] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(request, found[1], found[2], found[3])
        else:
            self._send(request, 404, b"{}")

    def _describe(self, request: BaseHTTPRequestHandler, name: str, revision: str) -> None:
        model = self.models.get(name)
        if model is None:
            self._send(request, 401, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return
        commit = revision if revision in model.commits else model.revisions.get(revision)
        if commit is None:
            self._send(request, 404, b'{"error":"Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = []
        for file, content in model.commits[commit].items():
            entry: dict[str, Any] = {"rfilename": file, "size": len(content)}
            if self.publishes_checksums:
                entry["blobId"] = _blob(content)
            if file.endswith(LARGE) and self.publishes_checksums:
                entry["lfs"] = {"sha256": _sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        body = {"_id": "0", "id": name, "modelId": name, "sha": commit, "private": False, "siblings": siblings}
        self._send(request, 200, json.dumps({**body, "tags": [], "downloads": 1, "likes": 0}).encode())

    def _send_file(self, request: BaseHTTPRequestHandler, name: str, commit: str, file: str) -> None:
        model = self.models[name]
        if model.gated:
            message = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."}
            self._send(request, 403, b'{"error":"gated"}', message)
            return
        commit = model.revisions.get(commit, commit)
        content = model.commits[commit].get(file)
        if content is None:
            self._send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        etag = _sha256(content) if file.endswith(LARGE) else _blob(content)
        if file in self.damaged:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._send(request, 200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

    def _send(
        self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
    ) -> None:
        request.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
