"""Options of `phylocli smooth`: how embeddings are averaged with their neighbours."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Device, Threads

Neighbourhood = Literal["cosine", "phmmer", "residues", "both"]
"""What decides which rows are neighbours: the cosine; or the E-value of an alignment, by phmmer, of residue embeddings, or
the smaller of both, doubled."""


class SmoothConfig(TableConfig, ParallelConfig):
    """How `phylocli smooth` averages embeddings."""

    table: ClassVar[str] = "smooth"

    neighbours: Annotated[int, Field(ge=1), Cli("-k", "--neighbours", metavar="K")] = 10
    """Average each vector with those among its K nearest that also have it among their K nearest."""
    rounds: Annotated[int, Field(ge=1, le=10), Cli(metavar="N")] = 2
    """Number of rounds of averaging; by cosine, each with the neighbours by the vectors of the round before."""
    by: Annotated[Neighbourhood, Cli("--by")] = "cosine"
    """What decides which rows are neighbours: the cosine; or alignments with the 50 nearest by cosine: by phmmer, of residue
    embeddings, or both, which finds most. Alignments need --sequences."""
    device: Device = "auto"
    threads: Threads = 0

    @property
    def aligns(self) -> bool:
        """Whether neighbours are aligned, which takes the sequences."""
        return self.by != "cosine"
