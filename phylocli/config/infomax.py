"""Options of `phylocli infomax`: which experiments, and the size of their runs."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.types import Bands, Count, Numbers, Seeds
from phylocli.core.errors import UsageError

Experiment = Literal[
    "channel", "ceilings", "nce", "simulated-views", "invertible", "critics", "equal-information", "boundary", "uniformity",
    "views",
]  # fmt: skip
EXPERIMENTS: tuple[str, ...] = get_args(Experiment)
WITHOUT_FAMILIES = ("channel", "ceilings", "nce", "simulated-views")
"""Experiments with a known truth, which need no families."""

SHOTS = 2
"""Members of a family that train the probe; with more, it would name nearly all families from the input itself."""
CHANNEL, FAMILIES = "Channel", "Families"
BANDS = ((0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2.5), (2.5, 4), (4, 6))
Input = Literal["halves", "homologs", "profiles"]


class InfomaxConfig(ParallelConfig):
    """What `phylocli infomax` runs."""

    table: ClassVar[str] = "infomax"

    experiments: Annotated[tuple[Experiment, ...], Cli(metavar="NAME", multiple=True, values=lambda: EXPERIMENTS)] = ()
    """An experiment; may be repeated. By default all that the input allows."""
    seeds: Annotated[Seeds, Cli(metavar="S,S,…")] = (0, 1, 2)
    """Seeds that every run is repeated with."""
    steps: Annotated[Count, Cli()] = 250
    """Optimiser steps of each run on families."""
    batch: Annotated[int, Field(ge=8), Cli(metavar="N")] = 128
    """Pairs in a training batch."""
    until_nats: Annotated[Numbers, Cli(metavar="NATS,…")] = ()
    """Values of the estimate at which encoders are compared, in nats.

    By default 0.25, 0.5 and 1 in equal-information, and 2, 3 and 4 for views."""
    input: Annotated[Input, Cli(panel=FAMILIES)] = "halves"
    """The two views: both halves of a domain, two homologs, or both halves of a profile of three members."""
    training_families: Annotated[int, Field(ge=2), Cli(metavar="N", panel=FAMILIES)] = 800
    """Training families, sampled at random."""
    scored_families: Annotated[int, Field(ge=2), Cli(metavar="N", panel=FAMILIES)] = 110
    """Families on whose members quality is measured, sampled at random."""
    members: Annotated[int, Field(ge=SHOTS + 1), Cli(metavar="N", panel=FAMILIES)] = 12
    """Maximum members per family; two of them train the probe, and the others test it."""
    bands: Annotated[Bands, Cli(metavar="A:B,B:C,…", panel=FAMILIES)] = BANDS
    """Bands of patristic distance of the views, in substitutions per site."""
    distances: Annotated[Numbers, Cli(metavar="T,T,…", panel=CHANNEL)] = (0.1, 0.3, 0.7, 1.5, 3.0)
    """Branch distances at which estimates are compared with the truth, in substitutions per site."""
    critic_steps: Annotated[Count, Cli(panel=CHANNEL)] = 400
    """Optimiser steps of a learned critic."""
    sites: Annotated[Count, Cli(panel=CHANNEL)] = 10
    """Sites of the simulated sequences."""
    alpha: Annotated[float, Field(gt=0), Cli(metavar="X", panel=CHANNEL)] = 1.0
    """Shape α of the Γ distribution of site rates; inf for equal rates."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.distances or not all(0 < t < math.inf for t in self.distances):
            raise UsageError("distances of homologs must be positive", fix="write them as 0.1,0.5,1")
        if not all(0 < t < math.inf for t in self.until_nats):
            raise UsageError("until_nats must be positive", fix="write values in nats as 1,2,3")
        if not self.seeds:
            raise UsageError("at least one seed is needed", fix="write seeds with commas, as in 0,1,2")
        return self
