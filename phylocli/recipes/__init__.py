"""Recipes: published methods as combinations of view, encoder, critic, objective and schedule, one TOML file each.

A recipe contains the settings that differ from the defaults of `phylocli.config.train.TrainConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phylocli.core import plugins
from phylocli.core.errors import unknown_name
from phylocli.formats.streams import PathLike
from phylocli.formats.toml import read_toml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """A recipe's file.

    Attributes:
        name: the name used in options.
        idea: one line.
        paper: reference.
        values: its nested settings.
        where: the file or the recipe, for messages.
        is_run: whether it is the config.toml of a run, with inputs and seed.
    """

    name: str
    idea: str
    paper: str
    values: dict[str, Any]
    where: str
    is_run: bool


def names() -> list[str]:
    """Return the sorted names of the recipes of phylocli and installed packages."""
    own = {f.stem for f in _FOLDER.glob("*.toml")}
    return sorted(own | {*plugins.recipe_names()})


def read(recipe: PathLike) -> Recipe:
    """Return a recipe by its name or from a TOML file, for example the `config.toml` of a run.

    Raises:
        UsageError: no such recipe.
        BadInputError: the file does not exist or is not TOML.
    """
    text = str(recipe)
    known = names()
    if text in known:
        path = plugins.recipe_file(text, _FOLDER / f"{text}.toml")
    elif text.endswith(".toml") or "/" in text or Path(text).exists():
        path = Path(text)
    else:
        raise unknown_name("unknown recipe", text, known, more=", or the path of a .toml file")
    content = read_toml(path)
    name, idea, paper = (content.pop(key, "") for key in ("recipe", "idea", "paper"))
    content.pop("phylocli", None)  # the version of the run
    where = f"recipe {text}" if text in known else str(path)
    return Recipe(name or path.stem, idea, paper, content, where, "inputs" in content)


def listing() -> str:
    """Return a table of all recipes, tab-separated with a header: recipe, idea, paper."""
    rows = [read(name) for name in names()]
    return "recipe\tidea\tpaper\n" + "".join(f"{r.name}\t{r.idea}\t{r.paper}\n" for r in rows)


__all__ = ["Recipe", "listing", "names", "read"]
