"""The web server of the page: on loopback only, with a token, for one user.

Any program and any web page on the machine can send requests to a port of 127.0.0.1. Therefore every request needs a random
token, which is in the printed address and then in a cookie; the header Host must name this server, so that a host name which
is made to point to 127.0.0.1 reaches nothing (DNS rebinding); requests of other origins are refused, and no header lets them
read an answer.
"""

from __future__ import annotations

import errno
import hmac
import json
import logging
import os
import secrets
import sys
import threading
import webbrowser
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qs, quote, urlsplit

from pydantic import ValidationError

from phylocli.config.base import BOUNDS
from phylocli.config.serve import ServeConfig
from phylocli.core.errors import PhylocliError
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.streams import PathLike
from phylocli.serve.requests import AlignmentRequest, Download, NotFound, Request

if TYPE_CHECKING:
    import polars as pl

    from phylocli.serve.layout import MapInBackground
    from phylocli.serve.page import Page
    from phylocli.serve.service import ProteinService

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
HEADER = "X-Phylocli-Token"
LARGEST = 1 << 20
"""Bytes of a request."""
DISCARDED = 64 << 20
"""Bytes of a larger request that are read, so that its sender gets an answer."""
IDLE = 30.0
"""Seconds after which a connection without a request is closed."""
IN_MEMORY = 1 << 30
"""Bytes of vectors that are kept in memory; larger tables are read from their file for each search."""

HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of answers that are not pages."""


def serve(
    embeddings: PathLike | EmbeddingTable,
    config: ServeConfig | None = None,
    *,
    labels: PathLike | pl.DataFrame | None = None,
    sequences: PathLike | None = None,
    model: PathLike | None = None,
    **options: Any,
) -> ProteinServer:
    """Serve a page on this machine to search a table of embeddings; return the running server.

    Args:
        embeddings: a table (see `read_embeddings`), or such an object.
        config: options; may also be given as keywords.
        labels: table, or polars frame, with a column of ids; without them, columns of text in the table, or headers of the
            sequences.
        sequences: file of the table's sequences, for alignments; without it, a column `sequence` of the table.
        model: name or folder of the table's model; None finds it by the fingerprint that the table carries.
        **options: fields of `ServeConfig`.

    Returns:
        The server: `url` is the address of the page, with its token. It runs until it is closed; as a context manager, for
        the block.

    Raises:
        UsageError: an unknown column or projection.
        BadInputError: tables, labels or sequences that cannot be read, without an id in common.
        PhylocliError: the port is taken.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> with phylocli.serve(table, sequences="examples/globins.fasta", projection="pca", open=False) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """
    config = ServeConfig.of(config, options)
    columns = config.column_options
    server = ProteinServer(config.port)  # first: a port that is taken is known before libraries and large files are read
    try:
        from phylocli.search import PreparedTable
        from phylocli.serve.layout import MapInBackground
        from phylocli.serve.page import render_page
        from phylocli.serve.proteins import read_proteins
        from phylocli.serve.service import ProteinService

        limit_threads(config.threads)
        read = (
            embeddings if isinstance(embeddings, EmbeddingTable) else read_embeddings(embeddings, columns, normalised=True)
        )
        targets = PreparedTable(read, model=model, device=config.device)
        table = targets.table
        if 4 * len(table) * table.dimension <= IN_MEMORY:
            table.numpy()
        proteins = read_proteins(table, labels, sequences, config.column, columns)
        layout = MapInBackground(table, proteins, config)
        page = render_page(config.title or table.title, table, proteins)
        server.start(ProteinService(targets, proteins), layout, page)
    except BaseException:
        server.close()
        raise
    logger.info(f"serving {counted(len(table), 'protein')} of {table.name}")
    if config.open or (config.open is None and _has_desktop()):
        webbrowser.open(server.url)
    return server


class ProteinServer:
    """A server, which holds its port from the beginning and answers once it is started; a context manager.

    Args:
        port: 0 takes a free one.

    Attributes:
        token: needed with every request.
        port: that it listens to.

    Raises:
        PhylocliError: the port is taken.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> server = phylocli.serve(table, projection="pca", open=False)
        >>> server.url.endswith(f":{server.port}/?token={server.token}")
        True
        >>> server.close()
    """

    def __init__(self, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        try:
            self._http = _Server(port, self.token)
        except OSError as error:
            why = "another program uses it" if error.errno == errno.EADDRINUSE else error.strerror
            raise PhylocliError(f"port {port} cannot be used", why=why, fix="use another --port, or 0") from error
        self.port = int(self._http.server_address[1])
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, service: ProteinService, layout: MapInBackground, page: Page) -> None:
        """Begin to answer.

        Args:
            service: answers searches.
            layout: the map.
            page: the page.
        """
        self._http.service, self._http.layout, self._http.page = service, layout, page
        layout.start()
        threading.Thread(target=_prepare, args=(service,), daemon=True, name="model").start()
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True, name="server")
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.port}/?token={quote(self.token)}"

    def wait(self) -> None:
        """Wait until the server is closed by another thread, or the program is interrupted."""
        while not self._stopped.wait(0.25):  # polars lets ^C restart a wait without a limit instead of ending it
            pass

    def close(self) -> None:
        """Stop listening and computing; the current search is finished first."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread is None:
            self._http.server_close()
            return
        logger.info("stopping")
        self._http.shutdown()
        self._http.server_close()
        self._http.layout.close()
        self._http.service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _prepare(service: ProteinService) -> None:
    try:
        service.prepare()
    except PhylocliError as error:
        logger.warning(str(error))


def _has_desktop() -> bool:
    """Return whether a browser with a window can be opened, and somebody sits before it."""
    display = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return display and sys.stderr.isatty() and "SSH_CONNECTION" not in os.environ


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    service: ProteinService
    layout: MapInBackground
    page: Page

    def __init__(self, port: int, token: str) -> None:
        super().__init__((ADDRESS, port), _Handler)
        number = self.server_address[1]
        self.hosts = {f"{ADDRESS}:{number}", f"localhost:{number}"}
        self.cookie = f"phylocli_{number}"  # cookies do not depend on the port
        self.token = token

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.error(f"a request failed: {type(error).__name__}: {error}")


class _Refused(Exception):
    """A request that gets an error.

    Args:
        status: of HTTP.
        what: message.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "phylocli"
    sys_version = ""
    timeout = IDLE
    POSTS: ClassVar[dict[str, type[Request | AlignmentRequest]]] = {
        "/api/search": Request,
        "/api/tsv": Request,
        "/api/m8": Request,
        "/api/align": AlignmentRequest,
    }

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, method: Any) -> None:
        try:
            self._check()
            method()
        except _Refused as error:
            self.close_connection = True  # its body may not have been read
            self._send_error(error.status, str(error))
        except NotFound as error:
            self._send_error(404, error.what, error.fix)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"])) or "the request"
            if first["type"] in BOUNDS:
                self._send_error(400, f"{name} must be {BOUNDS[first['type']]} {next(iter(first['ctx'].values())):g}")
            else:
                self._send_error(400, f"{name}: {first['msg']}")
        except PhylocliError as error:
            self._send_error(400, error.what, error.fix, error.why)
        except ConnectionError:
            self.close_connection = True
        except Exception as error:
            logger.error(f"{urlsplit(self.path).path}: {type(error).__name__}: {error}", exc_info=logger.isEnabledFor(10))
            self.close_connection = True
            self._send_error(500, "this search failed; the terminal says why")

    def _check(self) -> None:
        """Refuse what does not come from the page.

        Raises:
            _Refused: another host or origin, or no token.
        """
        if self.headers.get("Host", "") not in self.server.hosts:
            place = f"{ADDRESS}:{self.server.server_address[1]}"
            raise _Refused(403, f"this server answers only requests to {place}; forward the port under the same number")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in self.server.hosts:
            raise _Refused(403, "requests of other pages are not answered")
        if not any(hmac.compare_digest(given.encode(), self.server.token.encode()) for given in self._tokens()):
            raise _Refused(403, "open the whole address that 'phylocli serve' printed: its token is missing, or it is old")

    def _tokens(self) -> list[str]:
        found = parse_qs(urlsplit(self.path).query).get("token", [])
        found += self.headers.get_all(HEADER, [])
        try:
            cookie = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return found
        return [*found, *(morsel.value for name, morsel in cookie.items() if name == self.server.cookie)]

    def _get(self) -> None:
        parts = urlsplit(self.path)
        server = self.server
        if parts.path == "/":
            cookie = f"{server.cookie}={server.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(server.page.html, "text/html", policy=server.page.policy, more={"Set-Cookie": cookie})
        elif parts.path == "/map":
            if server.layout.page is None:
                raise _Refused(404, str(server.layout.status()["message"]))
            self._send(server.layout.page, "text/html", policy="frame-ancestors 'self'")  # the page has its own policy
        elif parts.path == "/api/status":
            self._send_json(server.layout.status())
        elif parts.path == "/api/find":
            self._send_json(server.service.find(parse_qs(parts.query).get("text", [""])[0][:1000]))
        elif parts.path in self.POSTS:
            raise _Refused(405, "send this request by POST")
        else:
            raise _Refused(404, "there is no such page")

    def _post(self) -> None:
        path, service = urlsplit(self.path).path, self.server.service
        kind = self.POSTS.get(path)
        if kind is None:
            raise _Refused(404, "there is no such page")
        request = kind.model_validate_json(self._body())
        if isinstance(request, AlignmentRequest):
            self._send_json(service.align(request))
        elif path == "/api/search":
            self._send_json(service.search(request))
        else:
            self._send_file(service.download(request, "m8" if path == "/api/m8" else "tsv"))

    def _body(self) -> bytes:
        """Return the body of a request.

        Raises:
            _Refused: not JSON, without a length, or too long.
        """
        if self.headers.get_content_type() != "application/json":
            raise _Refused(415, "send JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise _Refused(411, "send the length of the request")
        if int(length) > LARGEST:
            left = min(int(length), DISCARDED)
            while left > 0 and (part := self.rfile.read(min(left, LARGEST))):
                left -= len(part)
            raise _Refused(413, f"the page takes at most {LARGEST >> 20} MB; use 'phylocli search' for more")
        return self.rfile.read(int(length))

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value, ensure_ascii=False, allow_nan=False), "application/json", status)

    def _send_file(self, file: Download) -> None:
        name = {"Content-Disposition": f'attachment; filename="{file.name}"'}
        self._send(file.content, "text/tab-separated-values", more=name)

    def _send_error(self, status: int, what: str, fix: str | None = None, why: str | None = None) -> None:
        if urlsplit(self.path).path.startswith("/api/"):
            self._send_json({"error": what, "why": why, "fix": fix}, status)
        else:
            self._send(what, "text/plain", status)

    def _send(
        self,
        body: str | bytes,
        kind: str,
        status: int = 200,
        *,
        policy: str = NOTHING,
        more: Mapping[str, str] | None = None,
    ) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Security-Policy": policy, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a request that the library refuses, as other methods."""
        self.close_connection = True
        self._send(message or "", "text/plain", code)

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: their addresses have the token."""
