"""How the help of commands is written: text that wraps anywhere, square brackets as they are, no names of Python types."""

from __future__ import annotations

import inspect
from typing import Any

import typer.core


def escaped(text: str) -> str:
    """Return text whose square brackets the help shows as they are."""
    return text.replace("[", r"\[")


def flowing(text: str) -> str:
    """Return help text whose paragraphs wrap at the width of the terminal, not as in the source."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in escaped(inspect.cleandoc(text)).split("\n\n"))


def epilog(module: Any, configuration: Any) -> str:
    lines = ["[bold]Examples[/bold]", *(escaped(line) for line in module.EXAMPLES)]
    if configuration is not None:
        from phylocli.config.base import Cli

        table = configuration.table
        example = next(name for name, field in configuration.model_fields.items() if Cli.of(field).shown)
        lines.append(
            f"Options are also read from \\[{table}] in phylocli.toml and from the environment, such as "
            f"$PHYLOCLI_{table.upper()}__{example.upper()}."
        )
    return "\n\n".join(lines)


def _show_types_of_values_only(parameters: list[Any]) -> list[Any]:
    """Remove typer's types from the help: `<bool>` of flags, and `<str>` of arguments."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
    return parameters


class Command(typer.core.TyperCommand):
    """A command whose help is free of typer's names of types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _show_types_of_values_only(super().get_params(ctx))


class Group(typer.core.TyperGroup):
    """A group whose help is free of typer's names of types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters."""
        return _show_types_of_values_only(super().get_params(ctx))
