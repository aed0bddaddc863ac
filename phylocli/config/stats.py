"""Options of `phylocli stats`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli


class StatsConfig(TableConfig):
    """How `phylocli stats` examines files."""

    table: ClassVar[str] = "stats"

    sample: Annotated[int, Field(ge=2), Cli(metavar="N")] = 100
    """Estimate the identity of an alignment from the pairs of at most N of its rows."""
