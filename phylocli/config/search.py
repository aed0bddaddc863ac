"""Options of `phylocli search`: how many hits, and how they are scored."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli
from phylocli.config.types import Device, Threads
from phylocli.core.errors import UsageError

RERANKING = "Reranking"


class SearchConfig(TableConfig):
    """How `phylocli search` searches."""

    table: ClassVar[str] = "search"

    number: Annotated[int, Field(ge=1), Cli("-k", "-n", "--number", metavar="K", formerly=("k",))] = 20
    """Maximum number of hits per query."""
    max_evalue: Annotated[float | None, Field(ge=0), Cli("-e", "--max-evalue", metavar="E")] = None
    """Leave out hits with a larger E-value."""
    exclude_self: Annotated[bool, Cli(formerly=("no_self",))] = False
    """Leave out the row with the query's own id."""
    approximate: Annotated[bool, Cli()] = False
    """Search an HNSW graph beside the table, built at first use: for millions of rows."""
    align: Annotated[bool, Cli(panel=RERANKING)] = False
    """Align the hits with phmmer and rank them by bit score; with --rerank, by the better E-value of both."""
    rerank: Annotated[Literal["residues"] | None, Cli(panel=RERANKING)] = None
    """Align the hits by their residue embeddings, and rank them by the E-value of that."""
    candidates: Annotated[int | None, Field(ge=1), Cli(metavar="N", panel=RERANKING)] = None
    """Align the N nearest rows and keep the best K; by default N = K."""
    device: Device = "auto"
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_candidates(self) -> Self:
        if self.candidates is not None and not self.reranks:
            raise UsageError("candidates needs rerank or align", fix="add one of them, or give only the number of hits (-k)")
        return self

    @property
    def reranks(self) -> bool:
        """Whether hits are aligned, which takes the sequences of queries and targets."""
        return self.align or self.rerank is not None
