"""Models: an encoder with its pooling, the folder that stores them, and the lookup of `--model NAME|FOLDER|ORG/NAME`.

A model is a folder (config.json, model.safetensors, MODEL_CARD.md), named like the folder. The models of phylocli are in
this package. The environment variable PHYLOCLI_MODELS names further folders of models, which take precedence; models of the
Hugging Face hub are kept in the first of them, or in the user data folder.

>>> from phylocli import models
>>> model = models.load("default")  # verified, on the CPU
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phylocli.models.catalogue import (
    DEFAULT,
    ModelEntry,
    add,
    available,
    card,
    describe,
    entry,
    find,
    is_checkpoint,
    listing,
    named,
    remove,
)

if TYPE_CHECKING:
    from phylocli.models.ensemble import join_models as join_models
    from phylocli.models.model import Model as Model
    from phylocli.models.model import load as load

__all__ = [
    "DEFAULT",
    "Model",
    "ModelEntry",
    "add",
    "available",
    "card",
    "describe",
    "entry",
    "find",
    "is_checkpoint",
    "join_models",
    "listing",
    "load",
    "named",
    "remove",
]


def __getattr__(name: str) -> Any:
    if name in ("Model", "load", "join_models"):  # listing models needs no torch
        from phylocli.models import ensemble, model

        return getattr(ensemble if name == "join_models" else model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
