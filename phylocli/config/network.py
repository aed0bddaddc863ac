"""Options of `phylocli network`: which proteins are joined, and what is written of the network."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config._tables import LabelsConfig
from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.types import Device, Seed, Threads
from phylocli.core.errors import UsageError

EDGES = "Edges"
NODES = "Nodes"


class NetworkConfig(LabelsConfig, TranslationConfig):
    """How `phylocli network` joins and groups proteins."""

    table: ClassVar[str] = "network"

    max_evalue: Annotated[float | None, Field(ge=0), Cli("-e", "--max-evalue", metavar="E", panel=EDGES)] = None
    """Join proteins of which one finds the other with at most this E-value."""
    min_cosine: Annotated[float | None, Field(ge=-1, le=1), Cli(metavar="C", panel=EDGES)] = None
    """Join proteins whose embeddings have at least this cosine."""
    number: Annotated[int | None, Field(ge=1), Cli("-k", "-n", "--number", metavar="K", panel=EDGES)] = None
    """Join each protein with at most its K nearest; 10 if no threshold is given."""
    align: Annotated[bool, Cli(panel=EDGES)] = False
    """Align each protein with its nearest by phmmer, and use E-values, bits and identities of the alignments."""
    rerank: Annotated[Literal["residues"] | None, Cli(panel=EDGES)] = None
    """Align each protein with its nearest by their residue embeddings."""
    candidates: Annotated[int | None, Field(ge=1), Cli(metavar="N", panel=EDGES)] = None
    """Nearest proteins that --align and --rerank align; 100 by default."""
    min_bits: Annotated[float | None, Field(ge=0), Cli(metavar="B", panel=EDGES)] = None
    """Leave out edges with fewer bits."""
    min_identity: Annotated[float | None, Field(ge=0, le=1), Cli(metavar="F", panel=EDGES)] = None
    """Leave out edges with a smaller fraction of identical columns."""
    merge_cosine: Annotated[float | None, Field(ge=-1, le=1), Cli(metavar="C", panel=NODES)] = None
    """Representative nodes: one for all proteins that have at least this cosine with it."""
    merge_identity: Annotated[float | None, Field(ge=0, le=1), Cli(metavar="F", panel=NODES)] = None
    """Representative nodes: one for all proteins of which at least this fraction is identical with it; needs alignments."""
    communities: Annotated[Literal["auto", "leiden", "components"], Cli(panel=NODES)] = "auto"
    """Communities by the Leiden algorithm, or connected components; auto is Leiden if igraph is installed."""
    resolution: Annotated[float | None, Field(gt=0), Cli(metavar="X", panel=NODES)] = None
    """Resolution of the modularity: larger values give more and smaller communities; 1 by default."""
    column: Annotated[str | None, Cli("--column", "-c", metavar="NAME", panel=NODES)] = None
    """Label column that colours the page; by default family, superfamily, clan or fold, else the first that fits."""
    title: Annotated[str | None, Cli(metavar="TEXT")] = None
    """Title of the page; by default the input's name."""
    seed: Seed = 0
    device: Device = "auto"
    threads: Threads = 0

    @model_validator(mode="after")
    def _check_effects(self) -> Self:
        """Refuse options that would have no effect."""
        if self.candidates is not None and not self.aligns:
            raise UsageError("candidates needs align or rerank", fix="add one of them, or leave it out")
        if self.resolution is not None and self.communities == "components":
            raise UsageError("components have no resolution", fix="leave it out, or use communities=leiden")
        return self

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of labels that the user names."""
        return (self.column,) if self.column else ()

    @property
    def aligns(self) -> bool:
        """Whether edges come from alignments, which take the sequences."""
        return self.align or self.rerank is not None

    @property
    def has_threshold(self) -> bool:
        """Whether a threshold decides which proteins are joined."""
        return any(x is not None for x in (self.max_evalue, self.min_cosine, self.min_bits, self.min_identity))

    @property
    def nearest(self) -> int:
        """The number of nearest proteins that each is aligned with."""
        return self.candidates or CANDIDATES

    @property
    def neighbours(self) -> int | None:
        """The number of nearest proteins that each is joined with at most; None: all within the thresholds."""
        return self.number if self.number is not None or self.has_threshold else NEIGHBOURS


NEIGHBOURS = 10
"""Nearest proteins that each is joined with, if no threshold is given."""

CANDIDATES = 100
"""Nearest proteins that each is aligned with by default."""
