"""List, show, download and remove models."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from phylocli.cli._options import model_names

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli models",
    "phylocli models show default",
    "phylocli models show run/model",
    "phylocli models add facebook/esm2_t12_35M_UR50D",
    "phylocli models add hf:facebook/esm2_t6_8M_UR50D",
    "phylocli models rm facebook/esm2_t12_35M_UR50D",
]


def command(
    action: Annotated[str, typer.Argument(metavar="list|show|add|rm", help="What to do.")] = "list",
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FOLDER",
            help="The model: for show a name or a folder, for add a model of the Hugging Face hub (ORG/NAME or "
            "hf:ORG/NAME@REVISION), for rm a name.",
            autocompletion=model_names,
        ),
    ] = None,
) -> None:
    """List the models that --model accepts by name (tab-separated), show the card of one, add one, or remove one.

    They are those in the folders of $PHYLOCLI_MODELS (separated as in PATH) and in the user data folder, and the package's
    own: each folder with a config.json is a model. 'add' downloads a protein language model from the Hugging Face hub, as
    --model does at its first use: safetensors only, checked against the hub's checksums, and pinned to a commit; 'add' again
    updates it. Without --model, commands use 'default'.
    """
    from phylocli import models
    from phylocli.core.errors import UsageError

    if action == "list" and name is None:
        if not models.named():
            logger.info("This installation has no model; train one with 'phylocli train families.sto -o run'")
        typer.echo(models.listing(), nl=False)
    elif action == "show" and name is not None:
        typer.echo(models.card(name), nl=False)
    elif action == "add" and name is not None:
        typer.echo(models.add(name))
    elif action == "rm" and name is not None:
        logger.info(f"removed {models.remove(name)}")
    else:
        raise UsageError("models takes list, or show, add or rm and a name", fix="for example: phylocli models show default")
