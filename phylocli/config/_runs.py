"""Options of stages that train several runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

from pydantic import ValidationInfo, field_validator

from phylocli.config.assignments import flat, nested
from phylocli.config.base import Cli, Config, Layer
from phylocli.config.train import TrainConfig, layers_of_training

logger = logging.getLogger(__name__)


class RunsConfig(Config):
    """Base of these stages. The field `train` has the training options of all runs; an option of the stage that training
    has too, such as `steps`, is set there as well.
    """

    @classmethod
    def layered(cls, layers: Iterable[Layer]) -> Self:
        """Return the configuration of some layers; see `Config.layered`."""
        return super().layered(_with_training(cls, layer) for layer in layers)

    @classmethod
    def training_defaults(cls) -> dict[str, Any]:
        """Return the stage's own defaults of training options, nested; a recipe does not override them."""
        fields = {name: field.default for name, field in cls.model_fields.items() if name in TrainConfig.model_fields}
        return {name: default for name, default in fields.items() if default is not None}

    @field_validator("train", mode="before", check_fields=False)
    @classmethod
    def _train_of_layers(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        layers = info.context or [Layer("", {"train": value})]
        return TrainConfig.layered([Layer("", cls.training_defaults()), *layers_of_training(layers)])


def _with_training(cls: type[Config], layer: Layer) -> Layer:
    """Return a layer whose training options are all in `train`, with a warning for those given without that word.

    An option of the stage that training has too has the same value in both.
    """
    known = {*cls.model_fields, *(old for field in cls.model_fields.values() for old in Cli.of(field).formerly)}
    training = {key: value for key, value in layer.values.items() if key in TrainConfig.model_fields and value is not None}
    own = {key: value for key, value in training.items() if key in cls.model_fields}
    stray = nested({key: value for key, value in training.items() if key not in known})
    for key in flat(stray):
        logger.warning(f"{layer.name_of(key)} is now called train.{key}; the old name will be removed")
    values = {key: value for key, value in layer.values.items() if key not in stray}
    names = {**{f"train.{key}": layer.name_of(key) for key in flat({**own, **stray})}, **layer.names}
    train = values.get("train", {})
    if isinstance(train, TrainConfig):
        return replace(layer, values={**values, "train": train.updated(**own, **stray)}, names=names)
    if isinstance(train, dict):
        train = nested(train)
        values |= {key: value for key, value in train.items() if key in cls.model_fields}
        values["train"] = Config.merge(own, Config.merge(train, stray))
    return replace(layer, values=values, names=names)
