"""The layers of `phylocli.config.layers` for `[train]`, with recipe, seed and device apart from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phylocli.config import layers as all_layers
from phylocli.core.errors import UsageError

_OPTIONS: dict[str, type] = {"recipe": str, "seed": int, "device": str}
"""What a layer may say beside settings."""


@dataclass(frozen=True)
class Layer:
    """What one place says.

    Attributes:
        where: the place, for messages.
        settings: nested, as in a recipe.
        options: `recipe`, `seed` and `device`, as far as they are said.
    """

    where: str
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of values that it sets."""
        return len(self.options) + _count(self.settings)


def collect(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> list[Layer]:
    """Return the layers that are in effect, from the weakest to the strongest; see `phylocli.config.layers.collect`."""
    found = []
    for layer in all_layers.collect("train", folder, environment):
        where = layer.where.removesuffix(": [train]")
        options = {name: layer.values[name] for name in _OPTIONS if name in layer.values}
        for name, value in options.items():
            if type(value) is not _OPTIONS[name]:
                kinds = {str: "a word", int: "a whole number"}
                raise UsageError(f"{where}: {name} must be {kinds[_OPTIONS[name]]}, not {value!r}")
        found.append(Layer(where, {key: value for key, value in layer.values.items() if key not in _OPTIONS}, options))
    return found


def option(layers: Sequence[Layer], name: str) -> Any:
    """Return what the strongest layer that says anything of an option says, None where none does."""
    return next((layer.options[name] for layer in reversed(layers) if name in layer.options), None)


def _count(settings: dict[str, Any]) -> int:
    return sum(_count(value) if isinstance(value, dict) else 1 for value in settings.values())
