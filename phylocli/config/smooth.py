"""Options of `phylocli smooth`: how embeddings are averaged with their neighbours."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Device, Threads
from phylocli.core.errors import UsageError

Neighbourhood = Literal["cosine", "phmmer", "residues", "both"]
"""What decides which rows are neighbours: the cosine; or the E-value of an alignment, by phmmer, of residue embeddings, or
the smaller of both, doubled."""


MOST = 50
"""Number of nearest rows with which a protein is aligned, so the maximum number of neighbours by alignment."""

BY_COSINE, BY_ALIGNMENT = 10, 20
"""Neighbours with which a vector is averaged by default."""


def too_many(neighbours: int) -> UsageError:
    """Return the error for more neighbours by alignment than proteins that are aligned."""
    return UsageError(
        f"{neighbours:,} neighbours by alignment",
        why=f"{MOST} proteins are aligned",
        fix=f"ask for at most {MOST}; {BY_ALIGNMENT} is good",
    )


class SmoothConfig(TableConfig, ParallelConfig):
    """How `phylocli smooth` averages embeddings."""

    table: ClassVar[str] = "smooth"

    neighbours: Annotated[int | None, Field(ge=1), Cli("-k", "--neighbours", metavar="K")] = None
    """Average each vector with those among its K nearest that also have it among their K nearest; by alignment, with its K
    strongest that also have it among theirs, or E ≤ 0.01. 10 by default; by alignment, 20."""
    rounds: Annotated[int, Field(ge=1, le=10), Cli(metavar="N")] = 2
    """Number of rounds of averaging; by cosine, each with the neighbours by the vectors of the round before."""
    by: Annotated[Neighbourhood, Cli("--by")] = "cosine"
    """What decides which rows are neighbours: the cosine; or alignments with the 50 nearest by cosine: by phmmer, of residue
    embeddings, or both, which gives the highest sensitivity for families and superfamilies. Alignments need --sequences."""
    device: Device = "auto"
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_neighbours(self) -> Self:
        if self.aligns and self.kept > MOST:
            raise too_many(self.kept)
        return self

    @property
    def aligns(self) -> bool:
        """Whether neighbours are aligned, which takes the sequences."""
        return self.by != "cosine"

    @property
    def kept(self) -> int:
        """Maximum number of neighbours with which a vector is averaged."""
        return self.neighbours or (BY_ALIGNMENT if self.aligns else BY_COSINE)
