"""Statistics used by several stages, each defined once: effective rank, sequence identity, bootstrap, ranking."""

from __future__ import annotations

from phylocli.statistics.identity import identity, identity_of_rows
from phylocli.statistics.rank import effective_rank

__all__ = ["effective_rank", "identity", "identity_of_rows"]
