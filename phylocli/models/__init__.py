"""The models that come with phylocli, and every `--model NAME|FOLDER` through one door.

A model is a folder of this room (config.json, model.safetensors, MODEL_CARD.md), its name the folder's. Further folders of
models can be named in the environment variable PHYLOCLI_MODELS; they come before the package's own.

>>> from phylocli import models
>>> model = models.load("default")  # verified, on the CPU
"""

from __future__ import annotations

from phylocli.models.catalogue import DEFAULT, ModelEntry, available, card, entry, find, listing, load, named

__all__ = ["DEFAULT", "ModelEntry", "available", "card", "entry", "find", "listing", "load", "named"]
