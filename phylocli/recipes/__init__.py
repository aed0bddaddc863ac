"""Published methods as combinations of view, encoder, critic, objective and schedule: one TOML file each, no code."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phylocli.core import plugins
from phylocli.core.errors import UsageError
from phylocli.formats.streams import PathLike
from phylocli.formats.toml import read_toml
from phylocli.recipes._settings import merge

_FOLDER = Path(__file__).parent

_ABOUT = ("recipe", "idea", "paper")
_RUN = ("seed", "inputs", "phylocli")  # a finished run's config.toml is a recipe too


@dataclass
class Recipe:
    """A recipe.

    Attributes:
        name: as the user types it.
        idea: one line.
        paper: where it was published.
        settings: nested settings, every one of them, defaults included.
        inputs: what was trained on, where the recipe is the config.toml of a run; else empty.
        seed: of that run; else 0.
    """

    name: str
    idea: str
    paper: str
    settings: dict[str, Any]
    inputs: list[str] = field(default_factory=list)
    seed: int = 0


def names() -> list[str]:
    """Return the names of the recipes that phylocli and installed packages bring, sorted."""
    own = {f.stem for f in _FOLDER.glob("*.toml") if not f.stem.startswith("_")}
    return sorted(own | {*plugins.recipe_names()})


def defaults() -> dict[str, Any]:
    """Return every setting with its default."""
    return tomllib.loads((_FOLDER / "_defaults.toml").read_text(encoding="utf-8"))


def load(recipe: PathLike) -> Recipe:
    """Return a recipe by its name or from a TOML file, for example the `config.toml` of a run.

    Raises:
        UsageError: no such recipe, or a setting that does not exist or is of the wrong kind.
        BadInputError: the file is not there or not TOML.
    """
    text = str(recipe)
    if text in names():
        path = plugins.recipe_file(text, _FOLDER / f"{text}.toml")
    elif text.endswith(".toml") or "/" in text:
        path = Path(text)
    else:
        near = difflib.get_close_matches(text, names(), n=1)
        raise UsageError(
            f"unknown recipe {text!r}",
            fix=(f"did you mean {near[0]!r}? " if near else "")
            + f"available: {', '.join(names())}, or the path of a .toml file",
        )
    content = read_toml(path)
    about = {key: content.pop(key, "") for key in _ABOUT}
    run = {key: content.pop(key, None) for key in _RUN}
    settings = merge(defaults(), content, f"recipe {text}" if text in names() else str(path))
    name = about["recipe"] or path.stem
    return Recipe(name, about["idea"], about["paper"], settings, list(run["inputs"] or []), int(run["seed"] or 0))


def listing() -> str:
    """Return a table of all recipes, tab-separated with a header: recipe, idea, paper."""
    rows = [load(name) for name in names()]
    return "recipe\tidea\tpaper\n" + "".join(f"{r.name}\t{r.idea}\t{r.paper}\n" for r in rows)


def describe(recipe: Recipe) -> str:
    """Return a recipe as TOML with every setting spelled out: a start for one's own."""
    import tomli_w

    return tomli_w.dumps({"recipe": recipe.name, "idea": recipe.idea, "paper": recipe.paper, **recipe.settings})


__all__ = [
    "Recipe",
    "defaults",
    "describe",
    "listing",
    "load",
    "merge",
    "names",
]
