"""Where values come from, from the weakest to the strongest: the user's file, the project's file, the environment.

The user's file is `phylocli/config.toml` in the platform's folder for configurations, the project's is the nearest
`phylocli.toml` in the working folder or above it. Each has a table a stage, `[pairs]`, `[tree]`, `[train]`. A variable of
the environment names an option in capitals with two underscores for each dot: `PHYLOCLI_PAIRS__MIN_DIST=0.5`,
`PHYLOCLI_TRAIN__VIEW__CROP__MAX_LENGTH=64`. What the command line says beats them all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from phylocli.config.assignments import nested, parse_value
from phylocli.config.base import Layer, unknown
from phylocli.core.errors import UsageError
from phylocli.formats.toml import read_toml

PROJECT_FILE = "phylocli.toml"

_NO_STAGE = ("assignments", "base", "layers", "types")


def tables() -> list[str]:
    """Return the names of the tables that a file may have: one a stage."""
    files = (file.stem for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_"))
    return sorted({*files, "train"} - {*_NO_STAGE})


def user_file() -> Path:
    """Return where the user's file is or would be: on Linux `$XDG_CONFIG_HOME/phylocli/config.toml`."""
    import platformdirs

    return Path(platformdirs.user_config_dir("phylocli", appauthor=False)) / "config.toml"


def project_file(folder: Path | None = None) -> Path | None:
    """Return the nearest `phylocli.toml` in a folder (None: the working folder) or above it, None where there is none."""
    start = (folder or Path.cwd()).resolve()
    return next((path for at in (start, *start.parents) if (path := at / PROJECT_FILE).is_file()), None)


def collect(table: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> list[Layer]:
    """Return the layers in effect for one stage, from the weakest to the strongest.

    Args:
        table: the stage's, for example `pairs`.
        folder: from where the project's file is looked for; None is the working folder.
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
    """Return what a file says of a stage; see `collect` for the errors."""
    content = read_toml(path)
    for key, value in content.items():
        if key not in tables():
            raise unknown(f"{path}: there is no table", key, tables())
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {key!r} must be a table, not {value!r}", fix=f"write [{key}] and its options below")
    values = content.get(table, {})
    return Layer(f"{path}: [{table}]", values, folder=path.parent)


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
            found.append(Layer(f"${variable}", nested({key: parse_value(environment[variable])}), {key: f"${variable}"}))
    return found


__all__ = ["PROJECT_FILE", "collect", "from_environment", "from_file", "project_file", "tables", "user_file"]
