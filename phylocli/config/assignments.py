"""`--set key=value`: dotted keys, values as in TOML, or else words."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from phylocli.core.errors import UsageError


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


def flat(values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """Return `{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{at}{key}.") if isinstance(value, Mapping) else {at + key: value}
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
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
                raise UsageError(
                    f"the setting {key!r} is both a table and a value",
                    fix="give its value, or the options below it, not both",
                )
        if isinstance(value, dict) and isinstance(at.get(last), dict):
            at[last].update(value)
        else:
            at[last] = value
    return found
