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

from pydantic.fields import FieldInfo

import phylocli
from phylocli.cli import load, modules, names
from phylocli.config.base import Cli, Config, nested_class
from phylocli.core.plugins import KINDS
from phylocli.formats.input_formats import FORMATS

OUT = Path(__file__).parent / "reference"
GENERATED = "<!-- Written by docs/make_reference.py from the code; do not edit. -->\n\n"
HOW_CHOSEN = {
    "view": "`--set view.name=…`",
    "modality": "`phylocli train --modalities`",
    "encoder": "`--set encoder.name=…`",
    "pooling": "`--set encoder.pooling=…`, `phylocli embed --pooling`",
    "decoder": "`--set decoder.name=…`",
    "critic": "`--set critic.name=…`",
    "objective": "`--set objective.name=…`",
    "tree engine": "`phylocli tree --engine`",
    "aligner": "`phylocli align --engine`",
    "family engine": "`phylocli families --engine`",
    "probe": "`phylocli probe --tasks`",
    "baseline": "`phylocli probe --baselines`",
    "benchmark": "`phylocli probe --benchmark`",
}


def cell(text: str) -> str:
    """Return text that can stand in a table cell."""
    return re.sub(r"\s+", " ", text or "").replace("|", "\\|").strip()


def shown_default(value: Any) -> str:
    """Return a default as a user would type it; nothing for a whole table, an empty one, or None."""
    if value is None or value is False or value in ((), {}) or callable(value) or isinstance(value, Config):
        return ""
    return f"`{value}`"


def command_page() -> str:
    """Return the page of all commands."""
    examples = {m.__name__.rsplit(".", 1)[1].replace("_", "-"): m.EXAMPLES for m in modules()}
    parts = [
        GENERATED,
        "# Commands\n\n",
        "`-q` prints only warnings and errors, `-v` adds details; both work with every command.\n",
    ]
    for name in (name.replace("_", "-") for name in names()):
        parts += describe(f"phylocli {name}", load(name))
        parts.append("\n```\n" + "\n".join(examples[name]) + "\n```\n")
    parts.append("\nThe exit codes are in [formats and policies](../formats.md#exit-codes).\n")
    return "".join(parts)


def describe(title: str, command: Any, level: int = 2) -> list[str]:
    """Return the section of a command, and of its subcommands where it is a group."""
    parts = [f"\n{'#' * level} {title}\n\n{inspect.cleandoc(plain(command.help))}\n"]
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            parts += describe(f"{title} {name}", below, level + 1)
        return parts
    rows = []
    for parameter in sorted(command.params, key=lambda parameter: parameter.param_type_name):
        if parameter.name in ("help", "quiet", "verbose") or parameter.hidden:
            continue
        if parameter.param_type_name == "argument":
            names = f"`{parameter.metavar or parameter.name.upper()}`"
        else:
            flags = ", ".join([*parameter.opts, *parameter.secondary_opts])
            value = "" if getattr(parameter, "is_flag", False) else f" {parameter.metavar or type_name(parameter)}"
            names = f"`{flags}{value}`"
        variable = f" (also `${parameter.envvar}`)" if getattr(parameter, "envvar", None) else ""
        help_text = cell(plain(parameter.help)) + variable
        rows.append(f"| {cell(names)} | {help_text} | {shown_default(parameter.default)} |\n")
    if rows:
        parts.append("\n| option | what | default |\n|---|---|---|\n" + "".join(rows))
    configuration = getattr(command.callback, "configuration", None)
    if configuration is not None:
        parts += describe_keys(configuration)
    return parts


def describe_keys(configuration: type[Config]) -> list[str]:
    """Return how the options of a command are set in TOML and in the environment, and the keys that have no flag."""
    table = configuration.table
    own = [name for name, field in configuration.model_fields.items() if Cli.of(field).shown and not nested_class(field)]
    parts = [
        f"\nKeys of `[{table}]` in TOML: {', '.join(f'`{name}`' for name in own)}; in the environment "
        f"`PHYLOCLI_{table.upper()}__{own[0].upper()}` and so on.\n"
    ]
    rows = [
        f"| `{key}` | {cell(field.description or '')} | {shown_default(field.get_default(call_default_factory=True))} |\n"
        for key, field in keys_without_flag(configuration)
    ]
    if rows:
        parts.append("\n| key, by `--set` or in TOML | what | default |\n|---|---|---|\n" + "".join(rows))
    return parts


def keys_without_flag(configuration: type[Config], at: str = "") -> list[tuple[str, FieldInfo]]:
    """Return the dotted keys that have no option of their own, with their fields."""
    found = []
    for name, field in configuration.model_fields.items():
        below = nested_class(field)
        if below is not None and not below.table:
            found += keys_without_flag(below, f"{at}{name}.")
        elif at or below or not Cli.of(field).shown:
            found.append((at + name, field))
    return found


def plain(text: str | None) -> str:
    """Return help text as it is shown, without the escapes of markup."""
    return (text or "").replace("\\[", "[")


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
    for name in sorted(phylocli.__all__):
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


def format_page() -> str:
    """Return the page of all formats that are read."""
    parts = [
        GENERATED,
        "# Input formats\n\nThe format of an input is known by how its content starts, and by its suffix only where the "
        "table says so. More in [formats and policies](../formats.md).\n",
    ]
    for title, held in (
        ("Sequences and families", "sequences"),
        ("Tables", "table"),
        ("Tables of embeddings only", "vectors"),
        ("Labels only", "labels"),
    ):
        parts.append(f"\n## {title}\n\n| format | known by | suffixes in a folder of families |\n|---|---|---|\n")
        for known in FORMATS:
            if known.holds == held:
                parts.append(
                    f"| {known.name} | {known.known_by} | {', '.join(f'`{suffix}`' for suffix in known.suffixes)} |\n"
                )
    refused = ", ".join(known.phrase for known in FORMATS if known.holds == "other" and known.start)
    parts.append(f"\nRefused by name where sequences are expected: {refused}, tables and the like.\n")
    return "".join(parts)


def pages() -> dict[str, str]:
    """Return all pages by file name."""
    importlib.import_module("phylocli")
    return {"commands.md": command_page(), "api.md": api_page(), "plugins.md": plugin_page(), "formats.md": format_page()}


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
