"""Options of `phylocli mi benchmark`: which estimators, on which Gaussians."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from phylocli.config.base import Cli, Config
from phylocli.config.types import Numbers, Seed


class MiBenchmarkConfig(Config):
    """What `phylocli mi benchmark` runs: a preset, and values that override it."""

    table: ClassVar[str] = "mi_benchmark"

    preset: Annotated[Literal["quick", "full"], Cli()] = "quick"
    """Minutes on one core, or the settings of the papers, which take hours."""
    estimators: Annotated[tuple[str, ...], Cli(metavar="NAME[:KEY=VALUE,…]", multiple=True, formerly=("estimator",))] = ()
    """Only this estimator; may be repeated."""
    critics: Annotated[tuple[str, ...], Cli(metavar="NAME[:KEY=VALUE,…]", multiple=True, formerly=("critic",))] = ()
    """Only this critic; 'optimal' is the true density ratio; may be repeated."""
    transforms: Annotated[tuple[Literal["none", "cubic"], ...], Cli(multiple=True, formerly=("transform",))] = ()
    """Transform of y; may be repeated."""
    levels: Annotated[Numbers | None, Cli(metavar="NATS,…")] = None
    """True information of each step, in nats. By default 2,4,6,8,10."""
    dimension: Annotated[int | None, Field(ge=1), Cli(metavar="N")] = None
    """Components of x and of y. By default 20."""
    batch_size: Annotated[int | None, Field(ge=2), Cli(metavar="N")] = None
    """Pairs per batch. By default 64."""
    steps: Annotated[int | None, Field(ge=1), Cli(metavar="N")] = None
    """Optimiser steps on each level."""
    evaluations: Annotated[int | None, Field(ge=2), Cli(metavar="N")] = None
    """Fresh batches that a value is the mean of."""
    repeats: Annotated[int | None, Field(ge=1), Cli(metavar="N")] = None
    """Repetitions with other weights and pairs. By default 1."""
    seed: Seed = 0
