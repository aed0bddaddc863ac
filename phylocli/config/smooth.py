"""Options of `phylocli smooth`: how embeddings are averaged with their neighbours."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli
from phylocli.config.types import Threads


class SmoothConfig(TableConfig):
    """How `phylocli smooth` averages embeddings."""

    table: ClassVar[str] = "smooth"

    neighbours: Annotated[int, Field(ge=1), Cli("-k", "--neighbours", metavar="K")] = 10
    """Average each vector with those among its K nearest that also have it among their K nearest."""
    rounds: Annotated[int, Field(ge=1, le=10), Cli(metavar="N")] = 2
    """Number of rounds of averaging, each with the neighbours by the vectors of the round before."""
    threads: Threads = 0
