"""Published methods as combinations of view, encoder, critic, objective and schedule: one TOML file each, no code."""

from __future__ import annotations

import copy
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phylocli.errors import BadInputError, UsageError
from phylocli.formats.streams import PathLike

_FOLDER = Path(__file__).parent

# Tables whose keys are the parameters of a plugin, which checks them itself.
_FREE = {("critic",), ("objective",), ("encoder", "parameters"), ("encoder", "pooling_parameters")}


def _is_free(at: tuple[str, ...]) -> bool:
    return at in _FREE or at[:1] == ("view",)  # [view.crop] holds the parameters of the view crop


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
    """Return the names of the recipes that phylocli brings, sorted."""
    return sorted(f.stem for f in _FOLDER.glob("*.toml") if not f.stem.startswith("_"))


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
        path = _FOLDER / f"{text}.toml"
    elif text.endswith(".toml") or "/" in text:
        path = Path(text)
    else:
        near = difflib.get_close_matches(text, names(), n=1)
        raise UsageError(
            f"there is no recipe named {text!r}",
            fix=(f"did you mean {near[0]!r}? " if near else "")
            + f"known: {', '.join(names())}, or the path of a .toml file",
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror or error}", fix="check the path of the recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} is no TOML", why=str(error)) from error
    about = {key: content.pop(key, "") for key in _ABOUT}
    run = {key: content.pop(key, None) for key in _RUN}
    settings = merge(defaults(), content, str(path) if path.parent != _FOLDER else f"recipe {text}")
    name = about["recipe"] or path.stem
    return Recipe(name, about["idea"], about["paper"], settings, list(run["inputs"] or []), int(run["seed"] or 0))


def merge(base: dict[str, Any], changes: dict[str, Any], where: str) -> dict[str, Any]:
    """Return settings with changes applied; where a plugin's name changes, the parameters of the old one go.

    Args:
        base: nested settings.
        changes: nested, in the same form; unknown keys are errors but in the tables of plugins' parameters.
        where: what the changes come from, for messages.

    Raises:
        UsageError: a setting that does not exist, or is of the wrong kind.
    """
    return _merge(copy.deepcopy(base), changes, (), where)


def _merge(base: dict[str, Any], changes: dict[str, Any], at: tuple[str, ...], where: str) -> dict[str, Any]:
    renamed = "name" in changes and changes["name"] != base.get("name")
    if renamed and at in {("critic",), ("objective",)}:
        base = {}
    if renamed and at == ("view",):
        parts = str(changes["name"]).split("+")
        base = {key: value for key, value in base.items() if key == "name" or key in parts}
    if renamed and at == ("encoder",):
        base = {**base, "parameters": {}, "pooling_parameters": {}}
    for key, value in changes.items():
        here = (*at, key)
        name = ".".join(here)
        if key not in base:
            if not _is_free(at):
                near = difflib.get_close_matches(key, base, n=1)
                hint = f"did you mean {'.'.join((*at, near[0]))!r}? " if near else ""
                raise UsageError(f"{where}: there is no setting {name!r}", fix=f"{hint}known here: {', '.join(base)}")
            base[key] = copy.deepcopy(value)
        elif isinstance(base[key], dict) and isinstance(value, dict):
            base[key] = _merge(base[key], value, here, where)
        else:
            base[key] = _checked(base[key], value, name, where, free=_is_free(at) and key != "name")
    return base


def _checked(old: Any, new: Any, name: str, where: str, *, free: bool) -> Any:
    if free:
        return copy.deepcopy(new)
    if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if type(old) is not type(new):
        kinds = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", dict: "a table"}
        raise UsageError(f"{where}: {name} must be {kinds.get(type(old), type(old).__name__)}, not {new!r}")
    return new


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value` as `--set` takes it: the value as in TOML, else as a word.

    Raises:
        UsageError: no `=`, or an empty key.
    """
    key, separator, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not separator or not key:
        raise UsageError(f"--set takes key=value, not {text!r}", fix="for example --set critic.temperature=0.05")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return `{"a.b": 1}` as `{"a": {"b": 1}}`; values that are tables already stay as they are.

    Raises:
        UsageError: a key that is both a table and a value.
    """
    found: dict[str, Any] = {}
    for key, value in flat.items():
        *tables, last = key.split(".")
        at = found
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                raise UsageError(f"the setting {key!r} is both a table and a value")
        if isinstance(value, dict) and isinstance(at.get(last), dict):
            at[last].update(value)
        else:
            at[last] = value
    return found


def listing() -> str:
    """Return a table of all recipes, tab-separated with a header: recipe, idea, paper."""
    rows = [load(name) for name in names()]
    return "recipe\tidea\tpaper\n" + "".join(f"{r.name}\t{r.idea}\t{r.paper}\n" for r in rows)


def describe(recipe: Recipe) -> str:
    """Return a recipe as TOML with every setting spelled out: a start for one's own."""
    import tomli_w

    return tomli_w.dumps({"recipe": recipe.name, "idea": recipe.idea, "paper": recipe.paper, **recipe.settings})


__all__ = ["Recipe", "defaults", "describe", "listing", "load", "merge", "names", "nested", "parse_assignment"]
