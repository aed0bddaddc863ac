"""Explanation of connection errors: network, name resolution, firewall or proxy."""

from __future__ import annotations

from collections.abc import Iterator

import requests
from requests.utils import get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProxyError

from phylocli.core.errors import ServiceError

_FIX = "without a network, 'phylocli store import FILE' adds families to the store, and --offline uses only the store"


class UnreachableError(ServiceError):
    """There is no connection to the service: no network, or a proxy that is not configured or not reachable."""


def explain_no_connection(
    error: requests.exceptions.RequestException, url: str, host: str, waited: float
) -> UnreachableError | None:
    """Return the error for a connection that could not be established; None if it was established and then lost.

    Args:
        error: the exception of requests.
        url: the requested URL.
        host: the host of the URL, for messages.
        waited: the connection timeout in seconds.
    """
    causes = list(_causes(error))
    proxied = any(isinstance(cause, ProxyError) for cause in causes)
    opened = next((cause for cause in causes if isinstance(cause, NewConnectionError | ConnectTimeoutError)), None)
    name = f"the proxy {opened.conn.host}" if proxied and isinstance(opened, NewConnectionError) else host
    if isinstance(opened, NameResolutionError):
        reason = "its name cannot be resolved"
    elif isinstance(opened, NewConnectionError):
        reason = _os_words(causes) or "the connection was refused"
    elif opened is not None:
        reason = f"no connection within {waited:g} s"
    elif proxied:
        name, reason = f"{host} through the proxy", _os_words(causes) or "the proxy refused"
    else:
        return None
    fix = "check the network, or name your proxy: export HTTPS_PROXY=http://HOST:PORT"
    if proxied or get_environ_proxies(url):
        fix = "check the network, and the proxy in HTTPS_PROXY"
    return UnreachableError(f"cannot reach {name}: {reason}", fix=f"{fix}; {_FIX}")


def root_cause(error: BaseException) -> str:
    """Return the message of the root cause of an exception, such as `Connection reset by peer`."""
    causes = list(_causes(error))
    return _os_words(causes) or str(causes[-1]).split("\n", 1)[0][:200]


def _os_words(causes: list[BaseException]) -> str:
    """Return the message of the operating system; empty if there is none."""
    known = [cause for cause in causes if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException)]
    words = [cause.strerror or str(cause) for cause in known]
    return words[-1].split("\n", 1)[0][:200] if words else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes, the root cause last; libraries store causes as `__cause__` or as arguments."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        below = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [cause for cause in below if isinstance(cause, BaseException)]


__all__ = ["UnreachableError", "explain_no_connection", "root_cause"]
