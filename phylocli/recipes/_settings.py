"""Nested settings: merged, and checked against what exists."""

from __future__ import annotations

import copy
import difflib
from typing import Any

from phylocli.core.errors import UsageError

# Tables whose keys are the parameters of a plugin, which checks them itself.
_FREE = {("critic",), ("objective",), ("encoder", "parameters"), ("encoder", "pooling_parameters")}


def _is_free(at: tuple[str, ...]) -> bool:
    return at in _FREE or at[:1] == ("view",)  # [view.crop] holds the parameters of the view crop


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
        base = {**base, "parameters": {}}
    if at == ("encoder",) and changes.get("pooling", base["pooling"]) != base["pooling"]:
        base = {**base, "pooling_parameters": {}}
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
