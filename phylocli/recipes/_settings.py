"""Nested settings: merged, checked against what exists, and read from text."""

from __future__ import annotations

import copy
import difflib
import tomllib
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


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return key and value of `key=value` as `--set` takes it: the value as in TOML, else as a word.

    Raises:
        UsageError: no `=`, or an empty key.
    """
    key, value = split_assignment(text, "--set")
    return key, parse_value(value)


def split_assignment(text: str, option: str) -> tuple[str, str]:
    """Return key and value of `key=value` as text.

    Raises:
        UsageError: no `=`, or an empty key.
    """
    key, separator, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not separator or not key:
        raise UsageError(f"{option} takes key=value, not {text!r}", fix=f"for example {option} critic.temperature=0.05")
    return key, value


def parse_value(text: str) -> Any:
    """Return a value as TOML reads it, else the text as a word."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
