"""Options of `phylocli homologs`: how homologs of a sequence are found in a database, and which are kept."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.types import Count, OnDuplicate, Threads

HomologEngine = Literal["phmmer", "mmseqs"]


class HomologsConfig(TranslationConfig):
    """How homologs are found in a database, and which are kept."""

    table: ClassVar[str] = "homologs"

    engine: Annotated[HomologEngine, Cli()] = "phmmer"
    """Search with HMMER, which is included, or with MMseqs2, which is much faster in large databases."""
    rounds: Annotated[int, Field(ge=1, le=10), Cli(metavar="N")] = 1
    """Rounds of search; from the second on, with the profile of what was found."""
    evalue: Annotated[float, Field(gt=0, le=10), Cli(metavar="E")] = 1e-3
    """Maximum E-value of a homolog."""
    coverage: Annotated[float, Field(ge=0, le=1), Cli(metavar="X")] = 0.6
    """Minimum fraction of the sequence between the first and the last aligned residue."""
    number: Annotated[Count, Cli("-n", "--number")] = 20
    """Maximum number of homologs of a sequence: the closest, the most distant, and others at equal intervals between."""
    on_duplicate: OnDuplicate = "error"
    threads: Threads = 0
