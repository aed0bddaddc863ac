"""Options of `phylocli search`: number of hits, and scoring."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config._tables import TableConfig
from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.smooth import MOST, Neighbourhood, too_many
from phylocli.config.types import Device, Threads
from phylocli.core.errors import UsageError

HITS = "Hits"
ALIGNMENT = "Alignment"


class SearchConfig(TableConfig, TranslationConfig, ParallelConfig):
    """How `phylocli search` searches."""

    table: ClassVar[str] = "search"

    number: Annotated[int, Field(ge=1), Cli("-k", "-n", "--number", metavar="K", formerly=("k",), panel=HITS)] = 20
    """Maximum number of hits per query."""
    best: Annotated[bool, Cli(panel=HITS)] = False
    """One row per query: its best hit, and of that the best alignment."""
    max_evalue: Annotated[float | None, Field(ge=0), Cli("-e", "--max-evalue", metavar="E", panel=HITS)] = None
    """Leave out hits with a larger E-value."""
    min_cosine: Annotated[float | None, Field(ge=-1, le=1), Cli(metavar="C", panel=HITS)] = None
    """Leave out hits with a smaller cosine."""
    exclude_self: Annotated[bool, Cli(formerly=("no_self",), panel=HITS)] = False
    """Leave out the row with the query's own id."""
    smooth: Annotated[int, Field(ge=0), Cli(metavar="K", panel=HITS)] = 0
    """Rank by vectors averaged with their neighbours among the targets, at most K (10 is a good value; by alignment, 20):
    finds more distant relatives, and compares all targets with each other. 0: no smoothing."""
    smooth_by: Annotated[Neighbourhood, Cli(panel=HITS)] = "cosine"
    """With --smooth: what decides which rows are neighbours: the cosine; or alignments with the 50 nearest by cosine: by
    phmmer, of residue embeddings, or both, which gives the highest sensitivity for families and superfamilies, and takes
    longest."""
    align: Annotated[bool, Cli(panel=ALIGNMENT)] = False
    """Align the hits with phmmer and rank them by bit score; with --rerank, by the better E-value of both."""
    rerank: Annotated[Literal["residues"] | None, Cli(panel=ALIGNMENT)] = None
    """Align the hits by their residue embeddings, and rank them by the E-value of that."""
    candidates: Annotated[int | None, Field(ge=1), Cli(metavar="N", panel=ALIGNMENT)] = None
    """Align the N nearest rows and keep the best K; by default N = K."""
    translate: Annotated[bool, Cli()] = False
    """Translate queries and targets that are coding sequences (DNA or RNA), each in frame from its first codon."""
    approximate: Annotated[bool, Cli()] = False
    """Search an HNSW graph beside the table, built at first use: for millions of rows."""
    quantise: Annotated[Literal["float16", "int8", "binary"] | None, Cli()] = None
    """Compare codes of the rows, in a memory-mapped file beside the table, made at first use, and rescore the nearest by
    their vectors: for tables larger than memory."""
    device: Device = "auto"
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_candidates(self) -> Self:
        if self.candidates is not None and not self.reranks:
            raise UsageError("candidates needs rerank or align", fix="add one of them, or give only the number of hits (-k)")
        return self

    @model_validator(mode="after")
    def _check_index(self) -> Self:
        if self.approximate and self.quantise is not None:
            raise UsageError("approximate and quantise are two kinds of index", fix="leave one of them out")
        if self.smooth and (self.approximate or self.quantise is not None):
            raise UsageError(
                "smooth makes new vectors, which no index has",
                fix="write them with 'phylocli smooth', and search that table with an index and smooth = 0",
            )
        if self.needs_neighbours and self.smooth > MOST:
            raise too_many(self.smooth)
        return self

    @property
    def reranks(self) -> bool:
        """Whether hits are aligned."""
        return self.align or self.rerank is not None

    @property
    def needs_sequences(self) -> bool:
        """Whether hits or neighbours are aligned, which takes the sequences of queries and targets."""
        return self.reranks or self.needs_neighbours

    @property
    def needs_neighbours(self) -> bool:
        """Whether the targets are smoothed with neighbours by alignment."""
        return self.smooth > 0 and self.smooth_by != "cosine"

    @property
    def needs_residue_embeddings(self) -> bool:
        """Whether residue embeddings are aligned, of hits or of neighbours."""
        return self.rerank is not None or (self.needs_neighbours and self.smooth_by != "phmmer")

    def check_smooth_by(self) -> None:
        """Raise a UsageError if the call itself gives `smooth_by`, but no `smooth`; files and the environment may do so."""
        if self.smooth_by != "cosine" and not self.smooth and "smooth_by" not in self._ambient:
            raise UsageError("--smooth-by needs --smooth", fix="add the number of neighbours (--smooth 20), or leave it out")

    @property
    def nearest(self) -> int:
        """Number of nearest rows of a query to examine."""
        return max(self.kept, self.candidates or self.number) if self.reranks else self.kept

    @property
    def kept(self) -> int:
        """Number of hits of a query that are kept."""
        return 1 if self.best else self.number
