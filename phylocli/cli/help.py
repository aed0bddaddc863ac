"""Show the help of a command."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = ["phylocli help", "phylocli help tree", "phylocli help store verify"]


def _commands(incomplete: str) -> list[str]:
    from phylocli.cli import names

    return [name for name in names() if name.startswith(incomplete)]


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]...", help="A command.", autocompletion=_commands)
    ] = None,
) -> None:
    """Show the help of a command, as COMMAND --help does; without one, that of phylocli."""
    from phylocli.cli import build

    typer.main.get_command(build()).main([*(words or []), "--help"], prog_name="phylocli", standalone_mode=False)
