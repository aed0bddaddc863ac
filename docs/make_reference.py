"""Write docs/reference/*.md from the code: every command with its options, every function of the Python API, every plugin.

python docs/make_reference.py          write the pages
python docs/make_reference.py --check  exit with 1 where a page is not what the code says
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import typer

import phylocli
from phylocli.cli import build, modules
from phylocli.core.plugins import KINDS

OUT = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/make_reference.py from the code; do not edit. -->\n\n"
HOW_CHOSEN = {
    "view": "`--set view.name=…`",
    "encoder": "`--set encoder.name=…`",
    "pooling": "`--set encoder.pooling=…`, `phylocli embed --pool`",
    "critic": "`--set critic.name=…`",
    "objective": "`--set objective.name=…`",
    "tree engine": "`phylocli tree --engine`",
    "aligner": "`phylocli align --method`",
    "family engine": "`phylocli families --engine`",
    "probe": "`phylocli probe --task`",
    "benchmark": "`phylocli probe --benchmark`",
}


def cell(text: str) -> str:
    """Return text that can stand in a table cell."""
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()


def shown_default(value: Any) -> str:
    """Return a default as a user would type it."""
    if value is None or value is False or value == () or callable(value):
        return ""
    return f"`{value}`"


def command_page() -> str:
    """Return the page of all commands."""
    top: Any = typer.main.get_command(build())
    examples = {m.__name__.rsplit(".", 1)[1].replace("_", "-"): m.EXAMPLES for m in modules()}
    parts = [
        GENERATED,
        "# Commands\n\n",
        "`-q` says only warnings and errors, `-v` adds details; both work with every command.\n",
    ]
    for name, command in top.commands.items():
        parts += describe(f"phylocli {name}", command)
        parts.append("\n```\n" + "\n".join(examples[name]) + "\n```\n")
    parts.append("\nThe exit codes are in [formats and policies](../formats.md#exit-codes).\n")
    return "".join(parts)


def describe(title: str, command: Any, level: int = 2) -> list[str]:
    """Return the section of a command, and of its subcommands where it is a group."""
    parts = [f"\n{'#' * level} {title}\n\n{inspect.cleandoc(command.help or '')}\n"]
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            parts += describe(f"{title} {name}", below, level + 1)
        return parts
    rows = []
    for parameter in command.params:
        if parameter.name in ("help", "quiet", "verbose"):
            continue
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        else:
            flags = ", ".join([*parameter.opts, *parameter.secondary_opts])
            value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or type_name(parameter)}"
            names = f"`{flags}{value}`"
        variable = f" (also `${parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
        help_text = cell(getattr(parameter, "help", "")) + variable
        rows.append(f"| {cell(names)} | {help_text} | {shown_default(parameter.default)} |\n")
    if rows:
        parts.append("\n| option | what | default |\n|---|---|---|\n" + "".join(rows))
    return parts


def type_name(parameter: Any) -> str:
    """Return what stands for the value of an option without a metavar; typer keeps its type elsewhere than click."""
    kind = getattr(parameter, "type", None)
    if kind is not None:
        return str(kind.name).upper()
    return {"int": "N", "float": "X"}.get(parameter.type_descriptor.annotation.__name__, "TEXT")


def api_page() -> str:
    """Return the page of the public Python functions and classes."""
    parts = [
        GENERATED,
        "# Python API\n\nEach command is one call of these. `import phylocli` is light: a name is loaded when first used.\n",
    ]
    for name in sorted(phylocli._EXPORTS):
        thing = getattr(phylocli, name)
        parts.append(f"\n## phylocli.{name}\n\n")
        if inspect.isclass(thing):
            parts.append(f"```\n{inspect.cleandoc(thing.__doc__ or '')}\n```\n")
            for method, function in vars(thing).items():
                public = callable(function) or isinstance(function, property | classmethod)
                if public and not method.startswith("_"):
                    doc = (inspect.getdoc(function) or "").split("\n", 1)[0]
                    parts.append(f"\n- `{method}` — {doc}")
            parts.append("\n")
        else:
            parts.append(f"```python\n{signature(name, thing)}\n```\n\n```\n{inspect.getdoc(thing) or ''}\n```\n")
    return "".join(parts)


def signature(name: str, function: Any) -> str:
    """Return a function's signature, one parameter a line where it is long."""
    found = inspect.signature(function)
    text = f"{name}{found}"
    if len(text) > 110:
        inner = ",\n    ".join(str(p) for p in found.parameters.values())
        text = f"{name}(\n    {inner},\n) -> {found.return_annotation}"
    return text.replace("'", "")


def plugin_page() -> str:
    """Return the page of everything that is chosen by name."""
    parts = [GENERATED, "# Everything chosen by name\n\nOne file each; see [how to add one](../extending.md).\n"]
    for kind in KINDS:
        title = f"{kind.noun[0].upper()}{kind.noun[1:]}s".replace("ys", "ies")
        parts.append(f"\n## {title} ({HOW_CHOSEN[kind.noun]})\n\n| name | what |\n|---|---|\n")
        built_in = [name for name in kind.names() if kind.origins(name) == ["phylocli"]]
        parts += [f"| `{name}` | {cell(kind.summary(name))} |\n" for name in built_in]
    return "".join(parts)


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    importlib.import_module("phylocli")
    return {"commands.md": command_page(), "api.md": api_page(), "plugins.md": plugin_page()}


def main() -> int:
    """Write or check the pages."""
    stale = []
    OUT.mkdir(exist_ok=True)
    for name, text in pages().items():
        path = OUT / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"not what the code says: {', '.join(stale)}; run python docs/make_reference.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
