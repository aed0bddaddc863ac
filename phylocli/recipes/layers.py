"""Settings that stand between the recipe and the command line: the user's file, the project's file, the environment.

The user's file is `phylocli/config.toml` in the platform's folder for configurations, the project's is the nearest
`phylocli.toml` in the working folder or above it. Both have one table, `[train]`, of the form of a recipe. A variable of the
environment names a setting in capitals with two underscores for each dot: `PHYLOCLI_TRAIN__VIEW__CROP__MAX_LENGTH=64`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phylocli.core.errors import UsageError
from phylocli.formats.toml import read_toml
from phylocli.recipes._settings import nested, parse_value

PROJECT_FILE = "phylocli.toml"
PREFIX = "PHYLOCLI_TRAIN__"
TABLE = "train"

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


def user_file() -> Path:
    """Return where the user's file is or would be: on Linux `$XDG_CONFIG_HOME/phylocli/config.toml`."""
    import platformdirs

    return Path(platformdirs.user_config_dir("phylocli", appauthor=False)) / "config.toml"


def project_file(folder: Path | None = None) -> Path | None:
    """Return the nearest `phylocli.toml` in a folder (None: the working folder) or above it, None where there is none."""
    start = (folder or Path.cwd()).resolve()
    return next((path for at in (start, *start.parents) if (path := at / PROJECT_FILE).is_file()), None)


def collect(folder: Path | None = None, environment: Mapping[str, str] | None = None) -> list[Layer]:
    """Return the layers that are in effect, from the weakest to the strongest: user's file, project's file, environment.

    Args:
        folder: from where the project's file is looked for; None is the working folder.
        environment: None is the process's own.

    Raises:
        BadInputError: a file that cannot be read or is not TOML.
        UsageError: a file with another table than `[train]`, or an option of the wrong kind.
    """
    files = [user_file() if user_file().is_file() else None, project_file(folder)]
    layers = [from_file(path) for path in files if path is not None]
    return [*layers, *from_environment(os.environ if environment is None else environment)]


def from_file(path: Path) -> Layer:
    """Return what a file says; see `collect` for the errors."""
    content = read_toml(path)
    others = [key for key in content if key != TABLE]
    if others or not isinstance(content.get(TABLE, {}), dict):
        raise UsageError(
            f"{path}: there is no table {(others or [TABLE])[0]!r}",
            fix=f"settings of training go into the table [{TABLE}], as in [{TABLE}.batch] and then pairs = 64",
        )
    layer = _layer(str(path), content.get(TABLE, {}))
    recipe = layer.options.get("recipe")
    if recipe is not None and recipe.endswith(".toml"):
        layer.options["recipe"] = str(path.parent / recipe)  # a file is named as seen from the one that names it
    return layer


def from_environment(environment: Mapping[str, str]) -> list[Layer]:
    """Return one layer for each variable of the environment that names a setting, in the order of their names."""
    found = []
    for variable in sorted(environment):
        if variable.startswith(PREFIX):
            parts = variable.removeprefix(PREFIX).lower().split("__")
            if parts[0] == "view" and len(parts) > 1 and parts[1] != "name":
                parts[1] = parts[1].replace("_", "-")  # a variable cannot hold the hyphen of a view's name
            found.append(_layer(f"${variable}", nested({".".join(parts): parse_value(environment[variable])})))
    return found


def option(layers: Sequence[Layer], name: str) -> Any:
    """Return what the strongest layer that says anything of an option says, None where none does."""
    return next((layer.options[name] for layer in reversed(layers) if name in layer.options), None)


def _layer(where: str, content: dict[str, Any]) -> Layer:
    options = {}
    for name, kind in _OPTIONS.items():
        if name in content:
            options[name] = value = content[name]
            if type(value) is not kind:
                kinds = {str: "a word", int: "a whole number"}
                raise UsageError(f"{where}: {name} must be {kinds[kind]}, not {value!r}")
    return Layer(where, {key: value for key, value in content.items() if key not in _OPTIONS}, options)


def _count(settings: dict[str, Any]) -> int:
    return sum(_count(value) if isinstance(value, dict) else 1 for value in settings.values())


__all__ = [
    "PREFIX",
    "PROJECT_FILE",
    "Layer",
    "collect",
    "from_environment",
    "from_file",
    "option",
    "project_file",
    "user_file",
]
