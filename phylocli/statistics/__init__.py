"""Statistics that several stages report, each defined once: effective rank, sequence identity."""

from __future__ import annotations

from phylocli.statistics.identity import identity, identity_of_rows
from phylocli.statistics.rank import effective_rank

__all__ = ["effective_rank", "identity", "identity_of_rows"]
