"""Options of `phylocli pairs`: which pairs of homologs are sampled."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config.base import Cli, Config
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Alphabet, Count, Fraction, Numbers, Pattern, Range, Ranges, Seed
from phylocli.core.errors import UsageError

BAND, SAMPLING, FILTERS, SPLIT = "Distance band", "Sampling", "Filters", "Splits and negatives"

Distance = Annotated[float, Field(ge=0)]


class SamplingConfig(Config):
    """What `sample_pairs` samples: the band, the number, and filters."""

    table: ClassVar[str] = "pairs"

    min_dist: Annotated[Distance, Cli(metavar="X", panel=BAND)] = 0.0
    """Minimum distance, in --unit."""
    max_dist: Annotated[Distance, Cli(metavar="Y", panel=BAND)] = math.inf
    """Maximum distance, in --unit."""
    bins: Annotated[Ranges | None, Cli(metavar="A:B,B:C,…", panel=BAND)] = None
    """Several bands, each with the same number of pairs; instead of --min-dist and --max-dist."""
    quantiles: Annotated[Range | None, Cli(metavar="A:B", panel=BAND)] = None
    """Only distances between these quantiles of each family's own distances, such as 0.25:0.75."""
    unit: Annotated[Literal["substitutions", "relative"], Cli(panel=BAND)] = "substitutions"
    """Expected substitutions per site, or relative to the median pair distance of the family."""
    number: Annotated[int | None, Field(ge=1), Cli("-n", "--number", metavar="N", panel=SAMPLING, formerly=("n",))] = None
    """Number of pairs over all families; by default every pair of the band, once."""
    scheme: Annotated[
        Literal["uniform", "per-sequence", "per-family", "log-distance"], Cli(panel=SAMPLING, formerly=("weighting",))
    ] = "uniform"
    """What is equally likely: each pair; each sequence, then each of its partners; each family; each distance on a
    logarithmic scale."""
    replace: Annotated[bool, Cli(panel=SAMPLING)] = False
    """Sample with replacement."""
    seed: Annotated[Seed, Cli(metavar="S", panel=SAMPLING)] = 0
    relation: Annotated[Literal["any", "orthologs", "paralogs"], Cli(panel=FILTERS)] = "any"
    """Only pairs that diverged at a speciation (orthologs) or at a duplication (paralogs), by species overlap."""
    species: Annotated[Path | None, Cli(metavar="TABLE", panel=FILTERS)] = None
    """Table with the columns id and species; by default species are read from UniProt ids such as HBA_HUMAN."""
    species_pattern: Annotated[Pattern | None, Cli(metavar="REGEX", panel=FILTERS)] = None
    """Regular expression whose first group, or whole match, is the species within an id."""
    max_per_sequence: Annotated[int | None, Field(ge=1), Cli(metavar="K", panel=FILTERS)] = None
    """Maximum number of pairs with the same sequence, in each band."""
    max_per_ancestor: Annotated[int | None, Field(ge=1), Cli(metavar="K", panel=FILTERS)] = None
    """Maximum number of pairs with the same most recent common ancestor, in each band."""
    min_identity: Annotated[Fraction, Cli(metavar="P", panel=FILTERS)] = 0.0
    """Minimum sequence identity in the alignment."""
    max_identity: Annotated[Fraction, Cli(metavar="P", panel=FILTERS)] = 1.0
    """Maximum sequence identity in the alignment."""
    min_coverage: Annotated[Fraction, Cli(metavar="P", panel=FILTERS)] = 0.0
    """Minimum number of columns with a residue in both rows, as a fraction of the residues of the row that has more."""
    alphabet: Annotated[Alphabet, Cli(panel=FILTERS)] = "protein"
    """Alphabet in which aligned rows are compared."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for lo, hi in (*(self.bins or ()), (self.min_dist, self.max_dist)):
            if math.isnan(lo) or math.isnan(hi) or lo < 0 or hi < lo:
                raise UsageError(f"There is no band from {lo:g} to {hi:g}", fix="write the lower end first")
        if self.bins is not None:
            if not self.bins:
                raise UsageError("bins is empty", fix="write bins as 0:0.2,0.2:0.5")
            if self.quantiles or self.min_dist > 0 or self.max_dist < math.inf:
                raise UsageError(
                    "bins excludes min_dist, max_dist and quantiles",
                    fix="give bins, or one band by the other options",
                )
            for (lo, hi), (after, end) in pairwise(sorted(self.bins)):
                if after < hi or (lo, hi) == (after, end):
                    raise UsageError(
                        f"the bins {lo:g}:{hi:g} and {after:g}:{end:g} overlap",
                        why="a pair belongs to one bin, and would be counted in both",
                        fix="let each bin start where the one before it ends, or later",
                    )
        if self.quantiles and not 0 <= self.quantiles[0] <= self.quantiles[1] <= 1:
            raise UsageError(
                f"there are no quantiles from {self.quantiles[0]:g} to {self.quantiles[1]:g}",
                fix="write them as 0.25:0.75, between 0 and 1",
            )
        if self.species is not None and self.species_pattern is not None:
            raise UsageError("species excludes species_pattern", fix="give a table or a pattern")
        if self.min_identity > self.max_identity:
            raise UsageError(
                f"min_identity is {self.min_identity:g}, above max_identity {self.max_identity:g}", fix="swap the two"
            )
        if self.replace and self.number is None:
            raise UsageError("Sampling with replacement needs a number of pairs", fix="give number (-n)")
        if self.replace and self.is_capped:
            raise UsageError(
                "replace excludes max_per_sequence and max_per_ancestor", fix="leave out replace, or the maximum"
            )
        if self.number is None and self.scheme != "uniform":
            raise UsageError(f"The sampling scheme {self.scheme} needs a number of pairs", fix="give number (-n)")
        return self

    @property
    def is_capped(self) -> bool:
        """Whether the number of pairs of a sequence or an ancestor is limited."""
        return self.max_per_sequence is not None or self.max_per_ancestor is not None

    @property
    def is_filtered(self) -> bool:
        """Whether pairs must pass a condition on their aligned rows."""
        return self.min_identity > 0 or self.max_identity < 1 or self.min_coverage > 0

    def describe(self) -> str:
        """Return the band in words, for messages: `with distance 0.5 to 1 substitutions per site`."""
        unit = "substitutions per site" if self.unit == "substitutions" else "times the family's median distance"
        if self.bins:
            text = f"in the bins {', '.join(f'{lo:g}:{hi:g}' for lo, hi in self.bins)} {unit}"
        elif self.max_dist < math.inf:
            text = f"with distance {self.min_dist:g} to {self.max_dist:g} {unit}"
        elif self.min_dist > 0:
            text = f"with distance {self.min_dist:g} {unit} or more"
        else:
            text = "(no distance limit)"
        if self.quantiles:
            text += f", between the quantiles {self.quantiles[0]:g} and {self.quantiles[1]:g} of each family's distances"
        if self.relation != "any":
            text += f", {self.relation} only"
        if self.is_filtered:
            text += ", within the limits of identity and coverage"
        if self.is_capped:
            text += ", within the maximum per sequence or ancestor"
        return text


class PairsConfig(SamplingConfig, ParallelConfig):
    """What `phylocli pairs` does."""

    holdout: Annotated[Literal["families", "clans", "clades"] | None, Cli(panel=SPLIT)] = None
    """Write train, validation and test tables that have no family, clan or clade in common."""
    fractions: Annotated[Numbers, Cli(metavar="TRAIN,VALIDATION,TEST", panel=SPLIT)] = (0.8, 0.1, 0.1)
    """Fractions of the three parts of --holdout."""
    hard_negatives: Annotated[str | None, Cli(metavar="profile|TABLE|MODEL", panel=SPLIT, also=("profile",), file=True)] = (
        None
    )
    """Instead of pairs, list the nearest unrelated families of each family: by profile, by a table of groups (family,
    group), or by the embeddings of a model. For 'train --set batch.hard_negatives=FILE'."""
    negatives: Annotated[Count, Cli(metavar="K", panel=SPLIT)] = 5
    """Number of hard negatives for each family."""
