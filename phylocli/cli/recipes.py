"""List the training recipes, or show one as TOML."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import recipe_names

EXAMPLES = [
    "phylocli recipes",
    "phylocli recipes show simclr",
    "phylocli recipes show simclr > mine.toml && phylocli train pairs.tsv -o run --recipe mine.toml",
]


def command(
    action: Annotated[str, typer.Argument(metavar="list|show", help="What to do.")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE", help="With show: the recipe, by name or as a .toml file.", autocompletion=recipe_names
        ),
    ] = None,
) -> None:
    """List the training recipes (name, idea, paper; tab-separated), or show one as TOML with all settings."""
    from phylocli import recipes
    from phylocli.core.errors import UsageError

    if action == "list" and name is None:
        typer.echo(recipes.listing(), nl=False)
    elif action == "show" and name is not None:
        import tomli_w

        from phylocli.config.train import TrainConfig

        settings = TrainConfig.of(None, {"recipe": name}).to_toml()
        typer.echo(tomli_w.dumps({key: settings[key] for key in settings if key not in ("inputs", "seed")}), nl=False)
    else:
        raise UsageError("recipes takes list, or show and a name", fix="for example: phylocli recipes show simclr")
