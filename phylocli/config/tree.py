"""Options of `phylocli tree`: how a family's tree is inferred."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Fraction, Seed
from phylocli.core.errors import UsageError
from phylocli.core.plugins import TREE_ENGINES

ALIGNMENT, LIKELIHOOD = "Alignment and distances", "Likelihood and support"


class TreeConfig(ParallelConfig):
    """How the tree of each family is inferred."""

    table: ClassVar[str] = "tree"

    engine: Annotated[str, Cli(values=TREE_ENGINES.names, also=("auto",))] = "auto"
    """Tree engine; auto is bme for up to 2,000 different sequences, above that veryfasttree if installed."""
    model: Annotated[str, Cli(metavar="NAME", also=("lg", "wag", "jtt", "poisson", "kimura", "p", "auto"))] = "lg"
    """Substitution model: lg, wag, jtt or poisson, all with Γ rates; the distance formulas kimura or p; auto with iqtree."""
    root: Literal["midpoint", "minvar", "none"] = "midpoint"
    """Root at the midpoint, at the least variance of root-to-tip distances, or not at all."""
    outgroup: Annotated[tuple[str, ...], Cli(metavar="ID", multiple=True)] = ()
    """Root above this member; may be repeated."""
    timeout: Annotated[float | None, Field(gt=0), Cli(metavar="S", decisive=False)] = None
    """Time limit of a family in seconds; a family that takes longer fails, the others continue."""
    seed: Seed = 0
    columns: Annotated[Literal["match", "all"], Cli(panel=ALIGNMENT)] = "match"
    """Columns to use: match states only, or all."""
    min_coverage: Annotated[Fraction, Cli(metavar="X", panel=ALIGNMENT)] = 0.0
    """Remove members with residues in a smaller fraction of the columns."""
    min_overlap: Annotated[int, Field(ge=0), Cli(metavar="N", panel=ALIGNMENT)] = 10
    """Minimum number of columns that two sequences must share to have a distance; at most half of all columns."""
    alpha: Annotated[float | None, Field(gt=0), Cli(metavar="X", panel=ALIGNMENT)] = None
    """Shape α of the Γ distribution of site rates, inf for equal rates; by default estimated for each family."""
    max_distance: Annotated[float, Field(gt=0), Cli(shown=False)] = 5.0
    """Distance of saturated pairs."""
    refine: Annotated[bool | None, Cli(panel=LIKELIHOOD)] = None
    """Refine branch lengths by maximum likelihood; by default for distance engines (bme, nj). With --tree, refit them."""
    nni: Annotated[bool | None, Cli(panel=LIKELIHOOD)] = None
    """Nearest-neighbour interchanges by likelihood, thorough or none; by default quick ones for distance engines."""
    support: Annotated[
        str,
        Cli(metavar="none|abayes|alrt[=N]|bootstrap[=N]", panel=LIKELIHOOD, also=("none", "abayes", "alrt", "bootstrap")),
    ] = "none"
    """Branch support: aBayes, SH-like aLRT or bootstrap, with N replicates."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nni and self.refine is False:
            raise UsageError("nni needs the likelihood, which refine = false turns off", fix="leave out one of the two")
        return self
