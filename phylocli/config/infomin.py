"""Options of `phylocli infomin`: the views that are compared, and how their runs are trained."""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phylocli.config._runs import RunsConfig
from phylocli.config.base import Cli
from phylocli.config.parallel import ParallelConfig
from phylocli.config.train import TrainConfig
from phylocli.config.types import Bands, Seeds
from phylocli.core.errors import UsageError
from phylocli.core.plugins import VIEWS

SETTINGS = {
    "encoder": {"preset": "tiny"},
    "batch": {"pairs": 32},
    "validation": {"fraction": 0.2},
    "log": {"mfu": False},
}
"""Training options of all runs unless the user sets others: short runs that differ only in their views."""


class InfominConfig(ParallelConfig, RunsConfig):
    """What `phylocli infomin` compares."""

    table: ClassVar[str] = "infomin"

    bands: Annotated[Bands, Cli(metavar="A:B,B:C,…")] = ((0, 0.25), (0.25, 0.5), (0.5, 1), (1, 1.5), (1.5, 2.5))
    """Bands of patristic distance of the phylogenetic view, in substitutions per site."""
    views: Annotated[
        tuple[str, ...], Cli(metavar="NAME", multiple=True, values=VIEWS.names, also=("none",), formerly=("view",))
    ] = ("substitution", "crop", "dropout", "hmm-emission")
    """Another view to compare with, or none; may be repeated."""
    recipe: Annotated[str, Cli(metavar="NAME|FILE")] = "simclr"
    """Training recipe; its view is replaced."""
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 200
    """Optimiser steps of each run."""
    seeds: Annotated[Seeds, Cli(metavar="S,S,…")] = (0, 1, 2)
    """Seeds that every view is trained with."""
    quality: Annotated[Literal["retrieval", "clan", "patristic"], Cli()] = "retrieval"
    """Metric of the figure."""
    train: TrainConfig = Field(default_factory=dict, validate_default=True)
    """Training options of all runs, by their names in [train]: `--set train.batch.pairs=64`."""

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Return the defaults of training options."""
        return {**super().training_defaults(), **SETTINGS}

    @model_validator(mode="after")
    def _check(self) -> Self:
        for low, high in self.bands:
            if math.isinf(high):
                raise UsageError(f"the band '{low:g}:inf' has no end", fix="write bands as 0:0.5,0.5:1")
        if self.train.validation.split:
            raise UsageError("infomin chooses the held-out members itself", fix="omit train.validation.split")
        if self.train.validation.fraction == 0:
            raise UsageError("infomin needs held-out members", fix="set train.validation.fraction above 0")
        return self

    @property
    def other_views(self) -> tuple[str, ...]:
        """The views other than the phylogenetic one."""
        return tuple(name for name in self.views if name != "none")
