"""Plugins are files: a new tree engine, view, encoder, critic, objective or probe is one file in its room.

The word that the user types is the file's name (with `-` for `_`), and what `--help` and listings say of it is the first
line of its docstring. Names and docstrings are read from the source text, so listing imports nothing; only what was asked
for is imported. A file whose name starts with `_` is shared by the plugins of its room and is no plugin.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from pathlib import Path
from types import ModuleType

from phylocli.errors import UsageError

_PACKAGE = Path(__file__).parent

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
