"""List the training recipes, or show one as TOML."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = [
    "phylocli recipes",
    "phylocli recipes show simclr",
    "phylocli recipes show simclr > mine.toml && phylocli train pairs.tsv -o run --recipe mine.toml",
]


def command(
    action: Annotated[str, typer.Argument(metavar="[list|show]", help="What to do.")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="For show: a recipe's name, or the path of a .toml file."),
    ] = None,
) -> None:
    """List the training recipes (name, idea, paper; tab-separated), or show one as TOML with every setting."""
    from phylocli import recipes
    from phylocli.core.errors import UsageError

    if action == "list" and name is None:
        typer.echo(recipes.listing(), nl=False)
    elif action == "show" and name is not None:
        typer.echo(recipes.describe(recipes.load(name)), nl=False)
    else:
        raise UsageError("say 'phylocli recipes', or 'phylocli recipes show NAME'")
