"""List the models that come with phylocli, or show the card of one."""

from __future__ import annotations

from typing import Annotated

import typer

EXAMPLES = ["phylocli models", "phylocli models show default", "phylocli models show run/model"]


def command(
    action: Annotated[str, typer.Argument(metavar="[list|show]", help="What to do.")] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME|FOLDER]", help="For show: a model's name, or its folder.")
    ] = None,
) -> None:
    """List the models that --model takes by name (tab-separated), or show the card of one.

    The names are those of the package, and of the folders in $PHYLOCLI_MODELS (separated as in PATH), where each folder
    with a config.json is a model. Where no model is named, 'default' is taken.
    """
    from phylocli import models
    from phylocli.core import console
    from phylocli.core.errors import UsageError

    if action == "list" and name is None:
        if not models.named():
            console.info("this installation ships no model; train one with 'phylocli train families.sto -o run'")
        typer.echo(models.listing(), nl=False)
    elif action == "show" and name is not None:
        typer.echo(models.card(name), nl=False)
    else:
        raise UsageError("say 'phylocli models', or 'phylocli models show NAME'")
