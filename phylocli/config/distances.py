"""Options of `phylocli distances`: which distance, and how it is estimated."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config._tables import TableConfig
from phylocli.config.base import Cli


class DistancesConfig(TableConfig):
    """What `phylocli distances` computes."""

    table: ClassVar[str] = "distances"

    metric: Annotated[Literal["auto", "patristic", "evolutionary", "cosine"], Cli()] = "auto"
    """Path length in the tree, maximum-likelihood distance of aligned rows, or 1 − cosine of embeddings; auto: cosine for
    embeddings, patristic for families with trees, else evolutionary."""
    model: Annotated[str, Cli(metavar="NAME")] = "lg+g"
    """Substitution model of evolutionary distances: lg, wag, jtt or poisson with Γ rates, kimura, or p."""
    alpha: Annotated[float, Field(gt=0), Cli(metavar="A")] = 1.0
    """Shape of the Γ distribution of site rates, for evolutionary distances."""
    min_overlap: Annotated[int, Field(ge=1), Cli(metavar="N")] = 10
    """Rows that share fewer columns have no distance."""
    columns: Annotated[Literal["match", "all"], Cli()] = "match"
    """Columns of the alignment to compare."""
