"""Options of `phylocli simulate`: how families evolve whose tree, alignment and site rates are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Count, Fraction, Seed
from phylocli.core.errors import UsageError

TREE, SITES, EVENTS = "Tree", "Substitutions", "Insertions and deletions"


def _amount(value: Any) -> Any:
    """Return the least and the most of `50`, `20:100`, 50 or [20, 100]."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if not isinstance(value, str):
        return value
    low, _, high = value.partition(":")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise ValueError(f"{value!r} is not a whole number, or a range as in 20:100") from None


def _prefix(text: str) -> str:
    if text.split() != [text] or text.startswith(("#", ">", "/")):
        raise ValueError(f"{text!r} cannot begin a name; give letters and digits, without spaces")
    return text


Amount = Annotated[tuple[int, int], BeforeValidator(_amount)]
"""Minimum and maximum, ends included; one number is both."""
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False), Cli(metavar="X")]


class SimulateConfig(ParallelConfig):
    """How families are simulated."""

    table: ClassVar[str] = "simulate"

    number: Annotated[Count, Cli("-n", "--number", formerly=("families",))] = 1
    """Number of families."""
    length: Annotated[Amount, Cli(metavar="L|A:B")] = (200, 200)
    """Length in residues at the root; a range is sampled uniformly for each family."""
    seed: Seed = 0
    prefix: Annotated[str, AfterValidator(_prefix), Cli()] = "SIM"
    """Prefix of accessions: SIM gives SIM00001."""
    process: Annotated[Literal["birth-death", "coalescent"], Cli(panel=TREE)] = "birth-death"
    """Process that generates the trees."""
    tips: Annotated[Amount, Cli(metavar="N|A:B", panel=TREE)] = (50, 50)
    """Number of members; a range is sampled uniformly for each family."""
    speciation: Annotated[Rate, Cli(panel=TREE)] = 1.0
    """Birth–death: speciation rate, per lineage and unit of time."""
    extinction: Annotated[Rate, Cli(panel=TREE)] = 0.0
    """Birth–death: extinction rate, per lineage and unit of time."""
    sampling: Annotated[Fraction, Cli(panel=TREE)] = 1.0
    """Birth–death: fraction of the surviving lineages that is sampled."""
    growth: Annotated[float, Cli(metavar="X", panel=TREE)] = 0.0
    """Coalescent: rate of exponential growth, per N generations."""
    relaxed: Annotated[Rate, Cli(metavar="SD", panel=TREE)] = 0.0
    """Standard deviation of the log rate of branches; 0 is a strict clock."""
    tree: Annotated[Path | None, Cli(panel=TREE)] = None
    """Evolve along these Newick trees instead of random ones."""
    mean_distance: Annotated[Rate | None, Cli(metavar="X", panel=TREE)] = None
    """Mean distance of two members, substitutions per site; 0 keeps the tree's lengths. Default: 1, and 0 with --tree."""
    height: Annotated[Rate | None, Cli(metavar="X", panel=TREE)] = None
    """Instead of --mean-distance: mean path length from the root to a member."""
    model: Annotated[Literal["lg", "wag", "jtt", "poisson"], Cli(panel=SITES)] = "lg"
    """Substitution model."""
    frequencies: Annotated[str, Cli(metavar="model|equal|FILE", panel=SITES, also=("model", "equal"), file=True)] = "model"
    """Equilibrium frequencies: those of the model, equal ones, or those of a sequence file."""
    alpha: Annotated[float, Field(gt=0), Cli(metavar="X", panel=SITES)] = 1.0
    """Shape of Γ-distributed site rates; inf: equal rates."""
    categories: Annotated[int, Field(ge=0), Cli(metavar="K", panel=SITES)] = 0
    """Number of discrete Γ categories; 0: continuous."""
    invariant: Annotated[float, Field(ge=0, lt=1), Cli(metavar="P", panel=SITES)] = 0.0
    """Fraction of invariant sites."""
    motifs: Annotated[int, Field(ge=0), Cli(metavar="N", panel=SITES)] = 0
    """Number of conserved motifs, without indels."""
    motif_length: Annotated[Count, Cli(metavar="L", panel=SITES)] = 10
    """Length of a motif in residues."""
    motif_rate: Annotated[float, Field(ge=0, le=1), Cli(metavar="X", panel=SITES)] = 0.05
    """Substitution rate in motifs, relative to other sites."""
    indels: Annotated[Rate, Cli(panel=EVENTS)] = 0.02
    """Insertions and deletions per substitution, half of each."""
    insertions: Annotated[Rate | None, Cli(metavar="X", panel=EVENTS)] = None
    """Insertions per substitution, in place of half of --indels."""
    deletions: Annotated[Rate | None, Cli(metavar="X", panel=EVENTS)] = None
    """Deletions per substitution, in place of half of --indels."""
    indel_lengths: Annotated[str, Cli(metavar="power:EXPONENT|geometric:MEAN", panel=EVENTS)] = "power:1.7"
    """Distribution of indel lengths."""
    max_indel: Annotated[Count, Cli(metavar="L", panel=EVENTS)] = 50
    """Maximum length of an indel in residues."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 2 <= self.tips[0] <= self.tips[1]:
            raise UsageError(f"tips is {self.tips[0]}:{self.tips[1]}", fix="give 2 or more members, the lower end first")
        if not 1 <= self.length[0] <= self.length[1]:
            raise UsageError(f"length is {self.length[0]}:{self.length[1]}", fix="give 1 or more, the lower end first")
        return self
