"""List the installed models, or show the card of one."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from phylocli.cli._options import model_names

logger = logging.getLogger(__name__)

EXAMPLES = ["phylocli models", "phylocli models show default", "phylocli models show run/model"]


def command(
    action: Annotated[str, typer.Argument(metavar="list|show", help="What to do.")] = "list",
    name: Annotated[
        str | None, typer.Argument(metavar="NAME|FOLDER", help="With show: the model.", autocompletion=model_names)
    ] = None,
) -> None:
    """List the models that --model accepts by name (tab-separated), or show the card of one.

    They are the package's own, and those in the folders of $PHYLOCLI_MODELS (separated as in PATH): each folder with a
    config.json is a model. Without --model, commands use 'default'.
    """
    from phylocli import models
    from phylocli.core.errors import UsageError

    if action == "list" and name is None:
        if not models.named():
            logger.info("This installation has no model; train one with 'phylocli train families.sto -o run'")
        typer.echo(models.listing(), nl=False)
    elif action == "show" and name is not None:
        typer.echo(models.card(name), nl=False)
    else:
        raise UsageError("models takes list, or show and a name", fix="for example: phylocli models show default")
