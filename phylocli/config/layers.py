"""Sources of values in ascending order of precedence: the user's file, the project's file, the environment.

The user's file is `phylocli/config.toml` in the platform's folder for configurations, the project's is the nearest
`phylocli.toml` in the working folder or above it. Each has a table a stage, `[pairs]`, `[tree]`, `[train]`. A variable of
the environment names an option in capitals with two underscores for each dot: `PHYLOCLI_PAIRS__MIN_DIST=0.5`,
`PHYLOCLI_TRAIN__VIEW__CROP__MAX_LENGTH=64`. The command line takes precedence over all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from phylocli.config.assignments import nested, parse_value
from phylocli.core.errors import UsageError, unknown_name
from phylocli.formats.toml import read_toml

PROJECT_FILE = "phylocli.toml"

_NO_STAGE = ("assignments", "base", "layers", "parallel", "types")


@dataclass(frozen=True)
class Layer:
    """The values from one source: a file, an environment variable, or the command line.

    Attributes:
        where: the place, for messages.
        values: nested as in TOML.
        names: how the user wrote a key that is not called `where: key`, by the dotted key: `{"number": "-n"}`.
        folder: paths of existing files are relative to it; None: to the working folder.
        ambient: it applies to every command: the user's or the project's file, or the environment.
    """

    where: str
    values: dict[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    ambient: bool = False

    def below(self, table: str) -> Layer:
        """Return the layer as one of a configuration that has this layer's own as its table."""
        names = {f"{table}.{key}": self.name_of(key) for key in leaves(self.values)}
        return replace(self, values={table: self.values}, names=names)

    def of_table(self, table: str) -> Layer:
        """Return the values for one table, as a layer of that table's configuration."""
        given = self.values.get(table)
        values = nested(dict(given)) if isinstance(given, Mapping) else {}
        names = {key: self.names.get(f"{table}.{key}", "") for key in leaves(values)}
        where = f"{self.where}: [{table}]" if self.where else f"[{table}]"
        return replace(self, where=where, values=values, names={key: name for key, name in names.items() if name})

    def name_of(self, key: str) -> str:
        """Return a dotted key as the user wrote it, with the place."""
        place = self.where if self.where.endswith("]") else f"{self.where}:"
        return self.names.get(key) or (f"{place} {key}" if self.where else key)


def leaves(values: Mapping[str, Any], at: str = "") -> Iterable[str]:
    """Yield the dotted keys of nested values, those of tables too."""
    for key, value in values.items():
        yield at + key
        if isinstance(value, Mapping):
            yield from leaves(value, f"{at}{key}.")


def tables() -> list[str]:
    """Return the names of the tables that a file may have: one a stage."""
    files = (file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
    return sorted({*files, "train"} - {*_NO_STAGE})


def user_file() -> Path:
    """Return the path of the user's file, whether it exists or not: on Linux `$XDG_CONFIG_HOME/phylocli/config.toml`."""
    import platformdirs

    return Path(platformdirs.user_config_dir("phylocli", appauthor=False)) / "config.toml"


def project_file(folder: Path | None = None) -> Path | None:
    """Return the nearest `phylocli.toml` in a folder (None: the working folder) or above it, None if there is none."""
    start = (folder or Path.cwd()).resolve()
    return next((path for at in (start, *start.parents) if (path := at / PROJECT_FILE).is_file()), None)


def collect(table: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> list[Layer]:
    """Return the layers in effect for one stage, from the weakest to the strongest.

    Args:
        table: the stage's, for example `pairs`.
        folder: start of the search for the project's file; None is the working folder.
        environment: None is the process's own.

    Raises:
        BadInputError: a file that cannot be read or is not TOML.
        UsageError: a file with a table that belongs to no stage.
    """
    layers = [from_file(path, table) for path in files(folder)]
    layers += from_environment(os.environ if environment is None else environment, table)
    return [layer for layer in layers if layer.values]


def files(folder: Path | None = None) -> list[Path]:
    """Return the user's file and the project's, as far as they are there."""
    found = [user_file() if user_file().is_file() else None, project_file(folder)]
    return [path for path in found if path is not None]


def from_file(path: Path, table: str) -> Layer:
    """Return the values for a stage in a file; see `collect` for the errors."""
    content = read_toml(path)
    for key, value in content.items():
        if key not in tables():
            raise unknown_name(f"{path}: there is no table", key, tables())
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {key!r} must be a table, not {value!r}", fix=f"write [{key}] and its options below")
    values = content.get(table, {})
    return Layer(f"{path}: [{table}]", values, folder=path.parent, ambient=True)


def from_environment(environment: Mapping[str, str], table: str) -> list[Layer]:
    """Return one layer for each variable of the environment that names an option, in the order of their names."""
    prefix = f"PHYLOCLI_{table.upper()}__"
    found = []
    for variable in sorted(environment):
        if variable.startswith(prefix):
            parts = variable.removeprefix(prefix).lower().split("__")
            if parts[0] == "view" and len(parts) > 1 and parts[1] != "name":
                parts[1] = parts[1].replace("_", "-")  # a variable cannot hold the hyphen of a view's name
            key = ".".join(parts)
            values = nested({key: parse_value(environment[variable])})
            found.append(Layer(f"${variable}", values, {key: f"${variable}"}, ambient=True))
    return found


__all__ = [
    "PROJECT_FILE",
    "Layer",
    "collect",
    "from_environment",
    "from_file",
    "leaves",
    "project_file",
    "tables",
    "user_file",
]
