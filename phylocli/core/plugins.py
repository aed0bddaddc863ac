"""Plugins are files: a new tree engine, view, encoder, critic, objective or probe is one file in its room.

The word that the user types is the file's name (with `-` for `_`), and what `--help` and listings say of it is the first
line of its docstring. Names and docstrings are read from the source text, so listing imports nothing; only what was asked
for is imported. A file whose name starts with `_` is shared by the plugins of its room and is no plugin.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from phylocli.core.errors import UsageError

T = TypeVar("T")

_PACKAGE = Path(__file__).parent.parent

# What the plugins of a room are called, where its name does not say it.
_KINDS = {
    "tree.engines": "tree engine",
    "align.engines": "alignment method",
    "families.engines": "families engine",
    "probe.tasks": "probe",
}


def room_path(room: str) -> Path:
    """Return the folder of a room, for example `tree.engines`."""
    return _PACKAGE.joinpath(*room.split("."))


def names(room: str) -> list[str]:
    """Return the names of a room's plugins, sorted, as the user types them."""
    files = room_path(room).glob("*.py")
    return sorted(f.stem.replace("_", "-") for f in files if not f.stem.startswith("_"))


def summary(room: str, name: str) -> str:
    """Return the first line of a plugin's module docstring, without importing it."""
    source = (room_path(room) / f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(source)) or ""
    return doc.split("\n", 1)[0].rstrip(".")


def load(room: str, name: str) -> ModuleType:
    """Import the plugin that the user named.

    Raises:
        UsageError: no such plugin; the message lists those there are and the nearest spelling.
    """
    known = names(room)
    wanted = name.replace("_", "-")
    if wanted not in known:
        kind = _KINDS.get(room, room.rstrip("s"))
        near = difflib.get_close_matches(wanted, known, n=1)
        raise UsageError(
            f"there is no {kind} named {name!r}",
            fix=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known)}",
        )
    return importlib.import_module(f"phylocli.{room}.{wanted.replace('-', '_')}")


_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}


def check_parameters(kind: str, name: str, make: Callable[..., Any], parameters: Mapping[str, Any]) -> None:
    """Check names and types of the parameters that the user gives to a plugin, by the signature of what makes it.

    Args:
        kind: of plugin, for messages.
        name: of the plugin.
        make: takes the parameters by their names.
        parameters: that the user gives.

    Raises:
        UsageError: a parameter that does not exist, a value of another type, or NaN.
    """
    every = inspect.signature(make).parameters
    known = {key: found for key, found in every.items() if found.default is not found.empty}  # the others the program gives
    for key, value in parameters.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise UsageError(
                f"the {kind} {name!r} has no parameter {key!r}",
                fix=(f"did you mean {near[0]!r}? " if near else "") + f"known: {', '.join(known) or 'none'}",
            )
        words = [word.strip() for word in str(known[key].annotation).split("|")]
        types = [_TYPES.get(word) for word in words if word != "None"]
        if value is None or any(found is None for found in types):
            continue  # the plugin checks what is not a plain type
        fits = any(isinstance(value, found) and (isinstance(value, bool) == (bool in found)) for found in types if found)
        if not fits or (isinstance(value, float) and math.isnan(value)):
            wanted = " or ".join(_WORDS[word] for word in words if word != "None")
            raise UsageError(f"{key} of the {kind} {name!r} must be {wanted}, not {value!r}")


def make(kind: str, name: str, maker: Callable[..., T], *given: Any, parameters: Mapping[str, Any], **more: Any) -> T:
    """Return what a plugin makes of the parameters that the user gives.

    Args:
        kind: of plugin, for messages.
        name: of the plugin.
        maker: its class or function.
        given, more: arguments that do not come from the user.
        parameters: that the user gives.

    Raises:
        UsageError: parameters that the plugin does not have, or values that it cannot work with.
    """
    check_parameters(kind, name, maker, parameters)
    try:
        return maker(*given, **more, **parameters)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in parameters.items()) or "its defaults"
        raise UsageError(
            f"the {kind} {name!r} cannot be made with {shown}",
            why=(str(error).strip() or type(error).__name__).splitlines()[0],
            fix="give values within the range of each parameter",
        ) from error
