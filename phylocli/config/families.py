"""Options of `phylocli families`: how unlabelled sequences are grouped into families."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from phylocli.config._translation import TranslationConfig
from phylocli.config.base import Cli
from phylocli.config.types import Count, OnDuplicate, Threads
from phylocli.core.plugins import FAMILY_ENGINES


def _prefix(text: str) -> str:
    if not (text.isascii() and text.replace("_", "").isalnum()):
        raise ValueError(f"{text!r} cannot begin an accession; use letters, digits and _")
    return text


class FamiliesConfig(TranslationConfig):
    """How unlabelled sequences are grouped into homologous families."""

    table: ClassVar[str] = "families"

    engine: Annotated[str, Cli(values=FAMILY_ENGINES.names)] = "profile"
    """Domains by iterated profile search, or whole sequences by MMseqs2."""
    evalue: Annotated[float, Field(gt=0, le=10), Cli(metavar="E")] = 1e-3
    """Maximum E-value of a member, for a search of all input sequences."""
    coverage: Annotated[float, Field(gt=0.5, le=1), Cli(metavar="X")] = 0.6
    """Minimum fraction of the family's profile that a member covers; above 0.5, so that any two members overlap."""
    min_size: Annotated[Count, Cli()] = 2
    """Minimum number of members of a family."""
    min_length: Annotated[Count, Cli()] = 30
    """Minimum length in residues of a domain."""
    prefix: Annotated[str, AfterValidator(_prefix), Cli()] = "FAM"
    """Prefix of accessions: FAM gives FAM00001."""
    singletons: Annotated[Literal["keep", "drop"], Cli(decisive=False)] = "keep"
    """Whether the table of members lists sequences without a family."""
    on_duplicate: OnDuplicate = "error"
    threads: Threads = 0
