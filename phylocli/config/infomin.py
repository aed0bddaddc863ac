"""Options of `phylocli infomin`: the views that are compared, and how their runs are trained."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from phylocli.config.assignments import nested
from phylocli.config.base import Cli, Config
from phylocli.config.layers import Layer
from phylocli.config.train import TrainConfig
from phylocli.config.types import Ranges
from phylocli.core.errors import UsageError
from phylocli.core.plugins import VIEWS

logger = logging.getLogger(__name__)


def _seeds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"seeds {value!r} are not whole numbers from 0", fix="write them with commas, as in 0,1,2")
    return tuple(int(part) for part in parts)


class InfominConfig(Config):
    """What `phylocli infomin` compares."""

    table: ClassVar[str] = "infomin"

    bands: Annotated[Ranges, Cli(metavar="A:B,B:C,…")] = ((0, 0.25), (0.25, 0.5), (0.5, 1), (1, 1.5), (1.5, 2.5))
    """Bands of patristic distance of the phylogenetic view, in substitutions per site."""
    views: Annotated[
        tuple[str, ...], Cli(metavar="NAME", multiple=True, values=VIEWS.names, also=("none",), formerly=("view",))
    ] = ("substitution", "crop", "dropout", "hmm-emission")
    """Another view to compare with, or none; may be repeated."""
    recipe: Annotated[str, Cli(metavar="NAME|FILE")] = "simclr"
    """Training recipe; its view is replaced."""
    steps: Annotated[int, Field(ge=1), Cli(metavar="N")] = 200
    """Optimiser steps of each run."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_seeds), Cli(metavar="S,S,…")] = (0, 1, 2)
    """Seeds that every view is trained with."""
    quality: Annotated[Literal["retrieval", "clan", "patristic"], Cli()] = "retrieval"
    """Metric of the figure."""
    jobs: Annotated[int, Field(ge=1), Cli("-j", "--jobs", metavar="N", decisive=False)] = 1
    """Runs at a time."""
    train: Annotated[dict[str, Any], Cli(shown=False)] = Field(default_factory=dict)
    """Training options of all runs, by their names in [train]: `--set train.batch.pairs=64`."""

    @model_validator(mode="before")
    @classmethod
    def _of_training(cls, values: Any) -> Any:
        """Take training options without the word `train`, their former names, too."""
        if not isinstance(values, dict):
            return values
        old = {
            key: value for key, value in values.items() if key in TrainConfig.model_fields and key not in cls.model_fields
        }
        for key in old:
            logger.warning(f"{key} of infomin is now called train.{key}; the old name will be removed")
        train = values.get("train", {})
        if not isinstance(train, dict):
            return values
        rest = {key: value for key, value in values.items() if key not in old}
        return {**rest, "train": Config.merge(nested(train), old)}

    @model_validator(mode="after")
    def _check_bands(self) -> Self:
        for low, high in self.bands:
            if not 0 <= low < high or math.isinf(high):
                raise UsageError(
                    f"'{low:g}:{high:g}' is not a distance band", fix="write bands as 0:0.5,0.5:1, in substitutions per site"
                )
        return self

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        TrainConfig.layered([Layer("", {"recipe": self.recipe}), Layer("[infomin.train]", self.train)])
        if "split" in self.train.get("validation", {}):
            raise UsageError("infomin chooses the held-out members itself", fix="omit train.validation.split")
        return self

    @property
    def other_views(self) -> tuple[str, ...]:
        """The views other than the phylogenetic one."""
        return tuple(name for name in self.views if name != "none")
