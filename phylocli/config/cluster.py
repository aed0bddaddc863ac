"""Options of `phylocli cluster`: how embeddings are grouped."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli
from phylocli.config.types import Seed, Threads
from phylocli.core.errors import UsageError


class ClusterConfig(TableConfig):
    """How `phylocli cluster` groups embeddings."""

    table: ClassVar[str] = "cluster"

    min_cosine: Annotated[float | None, Field(ge=-1, le=1), Cli("-c", "--min-cosine", metavar="C")] = None
    """Every member has at least this cosine with the representative of its cluster; 0.8 if -k is not given either."""
    number: Annotated[int | None, Field(ge=1), Cli("-k", "-n", "--number", metavar="K")] = None
    """Make K clusters, by k-means on vectors of length 1."""
    seed: Seed = 0
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.min_cosine is not None and self.number is not None:
            raise UsageError("a threshold and a number of clusters exclude each other", fix="give --min-cosine or -k")
        return self
