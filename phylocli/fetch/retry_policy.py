"""How patient and how polite the client is: waits, retries, pauses, caps. Every number in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from phylocli.core.errors import UsageError

PATIENCE_VARIABLE = "PHYLOCLI_FETCH_PATIENCE"


@dataclass(frozen=True)
class Policy:
    """Waits are in seconds, sizes in bytes.

    Attributes:
        attempts: number of attempts per request, including the first.
        connect_timeout: for the connection to open.
        read_timeout: for the next bytes to arrive. Long, because InterPro computes an answer before its first byte.
        computing_wait: after a 408 of InterPro, which means that the answer is being computed; at least 61.
        backoff: before the second attempt; doubled before each further one, with jitter.
        backoff_max: the longest of those waits.
        retry_after_max: the longest `Retry-After` of a server that is honoured; a longer one ends the request.
        page_pause: between two pages of one answer.
        request_pause: between the starts of any two requests.
        connections: concurrent requests to one service.
        min_rate: bytes per second, on average over `rate_window`, below which a transfer counts as stalled.
        rate_window: see `min_rate`.
        give_up_after: families in a row that fail because of the service before the rest is not tried any more.
        max_body: of one answer as it is transferred.
        max_unpacked: of one answer, or of one record of a release, when decompressed.
        max_release: of one release file as it is transferred (`Pfam-A.full.gz` has 24 GB).
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
        """Return the policy with all waits and pauses multiplied; time-outs stay as they are."""
        return replace(
            self,
            computing_wait=self.computing_wait * factor,
            backoff=self.backoff * factor,
            backoff_max=self.backoff_max * factor,
            page_pause=self.page_pause * factor,
            request_pause=self.request_pause * factor,
        )


def default_policy() -> Policy:
    """Return the default policy, its waits scaled by `$PHYLOCLI_FETCH_PATIENCE` (for a mirror of one's own).

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
