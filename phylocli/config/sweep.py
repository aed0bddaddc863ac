"""Options of `phylocli sweep`: what its runs differ in, and how they are trained."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from phylocli import recipes as recipe_files
from phylocli.config._runs import RunsConfig
from phylocli.config.base import Cli, Layer
from phylocli.config.layers import collect
from phylocli.config.parallel import ParallelConfig
from phylocli.config.train import VALIDATION_METRICS, TrainConfig
from phylocli.config.types import Bands, Device, Seeds
from phylocli.core.errors import unknown_name

DEFAULT_METRIC = "final_val_accuracy"
RESULT_METRICS = tuple(f"{which}_{name}" for name, which in itertools.product(VALIDATION_METRICS, ("final", "best")))
"""Columns of the results that a figure can show."""


def _metric(name: str) -> str:
    if name not in RESULT_METRICS:
        raise unknown_name("unknown metric", name, RESULT_METRICS)
    return name


class SweepConfig(ParallelConfig, RunsConfig):
    """What `phylocli sweep` trains."""

    table: ClassVar[str] = "sweep"

    recipes: Annotated[
        tuple[str, ...], Cli(metavar="NAME|FILE", multiple=True, file=True, values=recipe_files.names, formerly=("recipe",))
    ] = ()
    """A training recipe; may be repeated. By default that of [train], else simclr."""
    vary: Annotated[tuple[str, ...], Cli(metavar="KEY=A,B,C", multiple=True)] = ()
    """A training option, by its name in [train], and its values; may be repeated, for every combination."""
    bands: Annotated[Bands | None, Cli(metavar="A:B,B:C,…")] = None
    """Bands of patristic distance from which pairs are sampled, in substitutions per site."""
    seeds: Annotated[Seeds, Cli(metavar="S,S,…")] = (0,)
    """Seeds that every combination is trained with."""
    steps: Annotated[int | None, Field(ge=1), Cli(metavar="N")] = None
    """Optimiser steps of each run; by default the recipe's."""
    device: Annotated[Device, Cli(decisive=False)] = "auto"
    metric: Annotated[str, AfterValidator(_metric), Cli(metavar="NAME", values=lambda: RESULT_METRICS)] = (
        "final_val_accuracy"
    )
    """Metric of the figure: a validation metric after the last step (final_…) or at its best (best_…)."""
    train: TrainConfig = Field(default_factory=dict, validate_default=True)
    """Training options of all runs, by their names in [train]: `--set train.batch.pairs=64`."""

    @classmethod
    def gather(cls, arguments: Mapping[str, Any]) -> list[Layer]:
        """Return the layers below the options of a command: those of `[train]`, and of `[sweep]` over them."""
        return [*(layer.below("train") for layer in collect("train")), *collect(cls.table)]

    @property
    def recipe_names(self) -> tuple[str, ...]:
        """The recipes to train, at least one."""
        return self.recipes or (self.train.named_recipe,)
