"""Waits, retries, rate limits and size limits of the HTTP client."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from phylocli.core.errors import UsageError

PATIENCE_VARIABLE = "PHYLOCLI_FETCH_PATIENCE"


@dataclass(frozen=True)
class Policy:
    """Waits, retries and limits; times are in seconds, sizes in bytes.

    Attributes:
        attempts: maximum number of attempts per request, including the first.
        connect_timeout: timeout for opening a connection.
        read_timeout: timeout for the next bytes. It is long because InterPro computes a response before it sends any byte.
        computing_wait: wait after a 408 of InterPro, which means that the response is being computed; at least 61.
        backoff: wait before the second attempt; doubled for each further attempt, with jitter.
        backoff_max: maximum wait of the back-off.
        retry_after_max: maximum accepted `Retry-After`; a longer one is an error.
        page_pause: pause between the pages of a listing.
        request_pause: minimum time between the starts of two requests.
        connections: number of concurrent requests to a service.
        min_rate: minimum transfer rate in bytes per second, averaged over `rate_window`; a slower transfer is aborted.
        rate_window: see `min_rate`.
        give_up_after: number of consecutive families that fail because of the service before the rest are not requested.
        max_body: maximum size of a response as transferred.
        max_unpacked: maximum decompressed size of a response, or of a record of a release.
        max_release: maximum size of a release file as transferred (`Pfam-A.full.gz` has 24 GB).
    """

    attempts: int = 6
    connect_timeout: float = 15.0
    read_timeout: float = 180.0
    computing_wait: float = 61.0
    backoff: float = 2.0
    backoff_max: float = 120.0
    retry_after_max: float = 900.0
    page_pause: float = 1.0
    request_pause: float = 0.2
    connections: int = 3
    min_rate: float = 500.0
    rate_window: float = 60.0
    give_up_after: int = 5
    max_body: int = 2 << 30
    max_unpacked: int = 8 << 30
    max_release: int = 64 << 30

    def scaled(self, factor: float) -> Policy:
        """Return the policy with all waits and pauses multiplied by a factor; timeouts are unchanged."""
        return replace(
            self,
            computing_wait=self.computing_wait * factor,
            backoff=self.backoff * factor,
            backoff_max=self.backoff_max * factor,
            page_pause=self.page_pause * factor,
            request_pause=self.request_pause * factor,
        )


def default_policy() -> Policy:
    """Return the default policy, with waits scaled by `$PHYLOCLI_FETCH_PATIENCE` (for private mirrors).

    Raises:
        UsageError: the variable is not a number of at least 0.
    """
    text = os.environ.get(PATIENCE_VARIABLE)
    if not text:
        return Policy()
    try:
        factor = float(text)
    except ValueError:
        factor = -1.0
    if not 0 <= factor < float("inf"):
        raise UsageError(f"{PATIENCE_VARIABLE} is {text!r}", fix="give a factor for all waits, for example 0.1; 1 is normal")
    return Policy().scaled(factor)
