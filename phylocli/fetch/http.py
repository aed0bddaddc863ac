"""HTTP client for public services: rate limits, timeouts, verification of lengths, and retries of transient errors."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import io
import json
import logging
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, TypeVar, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from phylocli import __version__
from phylocli.core import console
from phylocli.core.errors import BadInputError, ServiceError, UsageError
from phylocli.fetch.connection import explain_no_connection, root_cause
from phylocli.fetch.retry_policy import Policy
from phylocli.fetch.verify import unpacked

logger = logging.getLogger(__name__)

T = TypeVar("T")

USER_AGENT = f"phylocli/{__version__} (+https://github.com/phylocli/phylocli)"
_CHUNK = 1 << 16
_LARGE = 1 << 22  # minimum size in bytes of a body with a progress bar
_SMALL = 1 << 26  # maximum size of a body that is read into memory: JSON, error texts, clan lists


class TransientError(Exception):
    """A transient failure: the request should be repeated.

    Args:
        reason: the reason, for messages.
        wait: seconds to wait before the next attempt; None: by the back-off.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait


class Reply:
    """A response whose body has not been read yet."""

    def __init__(self, response: requests.Response, policy: Policy) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.url = response.url
        self._response = response
        self._policy = policy

    def chunks(self, limit: int) -> Iterator[bytes]:
        """Yield the body as transferred, without decoding; see `verify.unpacked` for compressed bodies.

        Raises:
            TransientError: the body is truncated, or the transfer is too slow.
            ServiceError: the body is larger than `limit`.
        """
        raw = cast(urllib3.HTTPResponse, self._response.raw)
        size = 0
        window_start, window_size = time.monotonic(), 0
        while True:
            try:
                data = raw.read1(_CHUNK, decode_content=False)
            except urllib3.exceptions.IncompleteRead as error:
                raise TransientError(f"the body broke off after {size:,} bytes") from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise TransientError(f"the body broke off after {size:,} bytes: {root_cause(error)}") from error
            if not data:
                break
            size += len(data)
            window_size += len(data)
            if size > limit:
                raise ServiceError(
                    f"{self.url} sends more than {limit:,} bytes",
                    why="no valid response is that large",
                    fix="try again later; a proxy may have answered instead of the service",
                )
            yield data
            now = time.monotonic()
            if now - window_start > self._policy.rate_window:
                if window_size < self._policy.min_rate * (now - window_start):
                    raise TransientError(f"the transfer stalled after {size:,} bytes")
                window_start, window_size = now, 0
        declared = self.headers.get("Content-Length", "")
        if declared.isdigit() and "Transfer-Encoding" not in self.headers and size != int(declared):
            raise TransientError(f"the body broke off after {size:,} of {int(declared):,} bytes")

    @contextmanager
    def spooled(self, what: str) -> Iterator[IO[bytes]]:
        """Yield the complete body as an unnamed temporary file, seekable, so that it can be verified before it is stored.

        Args:
            what: the name of the download, for the progress bar.
        """
        with tempfile.SpooledTemporaryFile(max_size=1 << 24) as body:
            for data in self._shown(self.chunks(self._policy.max_body), what):
                body.write(data)
            body.seek(0)
            yield cast("IO[bytes]", body)

    def _shown(self, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
        """Yield the chunks, with a progress bar if the body is large."""
        declared = self.headers.get("Content-Length", "")
        total = int(declared) if declared.isdigit() else None
        size = 0
        with contextlib.ExitStack() as stack:
            task: console.ProgressTask | None = None
            for data in chunks:
                if task is None and max(size, total or 0) >= _LARGE:
                    task = stack.enter_context(console.progress_task(what, total=total, unit="bytes"))
                    task.advance(size)
                size += len(data)
                if task is not None:
                    task.advance(len(data))
                yield data

    def content(self) -> bytes:
        """Return the decompressed body of a small response.

        Raises:
            TransientError: the body is truncated or damaged.
        """
        packed = b"".join(self.chunks(_SMALL))
        try:
            return unpacked(io.BytesIO(packed), _SMALL).read()
        except BadInputError as error:
            raise TransientError(f"the body is damaged: {error.what}") from error

    def json(self) -> Any:
        """Return the body parsed as JSON.

        Raises:
            TransientError: the body is not JSON.
        """
        content = self.content()
        try:
            return json.loads(content)
        except ValueError as error:
            raise TransientError(f"the response is not JSON but {_look(content)}") from error

    def retry_after(self) -> float | None:
        """Return the `Retry-After` header (a number or a date) in seconds; None if there is none."""
        text = self.headers.get("Retry-After", "").strip()
        if text.isdigit():
            return float(text)
        if text:
            with contextlib.suppress(ValueError):
                when = email.utils.parsedate_to_datetime(text)
                return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())
        return None


class Client:
    """An HTTP client with rate limits and retries, which can be stopped from another thread.

    Proxies and the CA bundle are read from the environment by requests; TLS certificates are always verified.

    Args:
        policy: waits, retries and limits.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._answered: set[str] = set()  # hosts that have responded before; failed connections to them are retried
        self._pace = threading.Lock()
        self._next_start = 0.0
        self._stopped = threading.Event()
        self._random = random.Random()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        for session in self._sessions:
            session.close()

    def stop(self) -> None:
        """End all waits; requests that have not started fail."""
        self._stopped.set()

    def wait(self, seconds: float) -> None:
        """Sleep until the time has passed or the client is stopped.

        Raises:
            ServiceError: the client was stopped.
        """
        if self._stopped.wait(max(0.0, seconds)):
            raise ServiceError("the request was cancelled")

    def attempt(self, what: str, action: Callable[[], T]) -> T:
        """Call `action`, and repeat it after a `TransientError` while attempts are left; return its result.

        Args:
            what: the name of the download, for messages.
            action: the complete transfer, including verification.

        Raises:
            ServiceError: all attempts failed.
        """
        policy, number = self.policy, 1
        while True:
            try:
                return action()
            except TransientError as error:
                if number == policy.attempts:
                    raise ServiceError(
                        f"{what} could not be fetched",
                        why=f"{error.reason} (after {policy.attempts} attempts)",
                        fix="try again later; records already in the store are kept",
                    ) from error
                seconds = error.wait if error.wait is not None else self._backoff(number)
                number += 1
                show = logger.info if seconds >= 10 else logger.debug
                show(f"{what}: {error}; attempt {number} of {policy.attempts} in {seconds:.0f} s")
            self.wait(seconds)

    def _backoff(self, failures: int) -> float:
        """Return the wait in seconds after a number of failures: exponential back-off with jitter."""
        return min(self.policy.backoff_max, self.policy.backoff * 2 ** (failures - 1)) * self._random.uniform(0.5, 1.0)

    @contextmanager
    def open(
        self,
        url: str,
        *,
        params: Mapping[str, str | int] | str | None = None,
        headers: Mapping[str, str] | None = None,
        accept: str = "*/*",
    ) -> Iterator[Reply]:
        """Send a request and yield the response, whatever its status.

        Raises:
            TransientError: the connection was lost, or there was no response in time.
            UnreachableError: there is no connection to a host that has not responded before.
            ServiceError: the certificate of the server cannot be verified, or HTTPS is redirected to HTTP.
            UsageError: `url` is not a valid URL.
        """
        self._take_turn()
        host = urlsplit(url).netloc
        try:
            response = self._session().get(
                url,
                params=params,
                headers={"Accept": accept, **(headers or {})},
                stream=True,
                timeout=(self.policy.connect_timeout, self.policy.read_timeout),
            )
        except requests.exceptions.SSLError as error:
            raise ServiceError(
                f"the certificate of {host} could not be verified",
                why=root_cause(error),
                fix="for a proxy with its own certificate, set REQUESTS_CA_BUNDLE to its bundle",
            ) from error
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
        ) as error:
            raise UsageError(
                f"{url!r} is not a valid URL", why=str(error), fix="give a complete URL, with https://"
            ) from error
        except requests.exceptions.ReadTimeout as error:
            raise TransientError(f"{host} did not answer in time") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            failure = explain_no_connection(error, url, host, self.policy.connect_timeout)
            if failure is None:
                raise TransientError(f"the connection to {host} was lost: {root_cause(error)}") from error
            if host in self._answered:
                raise TransientError(failure.what) from error
            raise failure from error
        except requests.exceptions.RequestException as error:
            raise TransientError(f"the request to {host} failed: {root_cause(error)}") from error
        self._answered.add(host)
        with response:
            if url.startswith("https:") and not response.url.startswith("https:"):
                raise ServiceError(
                    f"{url} redirects to {response.url}, which is not encrypted; the redirect was not followed",
                    fix="give a URL that is served over https",
                )
            yield Reply(response, self.policy)

    def refuse(self, reply: Reply, what: str) -> None:
        """Raise the error for a status that is not a success; used where a service has no special meaning for it.

        Raises:
            TransientError: the status is 408, 425, 429 or 5xx.
            ServiceError: another status, or `Retry-After` is longer than `Policy.retry_after_max`.
        """
        if 200 <= reply.status < 300:
            return
        if reply.status in (408, 425, 429) or reply.status >= 500:
            asked = reply.retry_after()
            if asked is not None and asked > self.policy.retry_after_max:
                raise ServiceError(
                    f"{what}: the server answers {reply.status} and asks to retry after {asked:.0f} s", fix="try again later"
                )
            raise TransientError(f"the server answers {reply.status}", asked)
        raise ServiceError(
            f"{what}: {reply.url} answers {reply.status}",
            why=_message(reply),
            fix="check the address of the service, or try again later",
        )

    def _take_turn(self) -> None:
        with self._pace:
            now = time.monotonic()
            start = max(now, self._next_start)
            self._next_start = start + self.policy.request_pause
        self.wait(start - now)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # No retries by urllib3: `attempt` decides which failures are transient.
            retry = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=5)
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            session.headers["User-Agent"] = USER_AGENT
            session.headers["Accept-Encoding"] = "gzip"
            self._local.session = session
            self._sessions.append(session)
        return session


def next_page(link: str, first: str) -> str:
    """Return the URL of the next page: the URL of the first page with the query of the `next` link.

    The `next` links of services behind a proxy may contain a host, port or prefix that the client cannot reach.
    """
    return urlsplit(first)._replace(query=urlsplit(link).query).geturl()


def unread(body: IO[bytes]) -> BinaryIO:
    """Return a spooled body, rewound."""
    body.seek(0)
    return cast(BinaryIO, body)


def _message(reply: Reply) -> str | None:
    with contextlib.suppress(TransientError, ServiceError):
        text = reply.content().decode("utf-8", "replace").strip()
        return text[:300] or None
    return None


def _look(content: bytes) -> str:
    head = content[:200].lstrip().lower()
    if not head:
        return "empty"
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return repr(content[:40].decode("utf-8", "replace"))
