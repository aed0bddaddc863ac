"""Train an encoder on homolog pairs, by contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options

EXAMPLES = [
    "phylocli train trees.sto -o run",
    "phylocli train pairs.parquet -o run --steps 2000 --seed 1 --set critic.temperature=0.05",
    "phylocli train trees.sto -o run --set view.phylogenetic.min_dist=0.5 --set encoder.preset=medium --device cuda",
    "phylocli train --resume -o run",
    "phylocli train --config run/config.toml -o again",
]
NO_ARGS_IS_HELP = True


def command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Folder of the run.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT…]", help="Family records with trees (Stockholm), or pairs tables; '-' is standard input."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="A recipe (see 'phylocli recipes'), or a TOML file such as a run's config; default: simclr.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Repeat a run: its config.toml, with recipe, inputs and seed. Others may be named."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Optimiser steps; default: the recipe's."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, metavar="S", help="Same inputs and seed, same model; default: the config's, else 0."),
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute; default: auto.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint of RUN_DIR.")] = False,
    on_divergence: Annotated[
        str | None,
        typer.Option(
            metavar="stop|rollback|continue", help="If the loss is no number or the encoder collapses; default: stop."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting over the recipe's; may be repeated."),
    ] = None,
    cache: _options.CacheOption = None,
    no_cache: _options.NoCacheOption = False,
) -> None:
    """Train an encoder: homologs are drawn together, other families pushed apart.

    From family records with trees, fresh pairs are drawn at every step; from a pairs table, its rows. RUN_DIR gets
    config.toml, metrics.parquet, checkpoints and, in the end, model/, which 'phylocli embed --model' takes.

    A setting is taken from the command line, else from the environment (PHYLOCLI_TRAIN__BATCH__PAIRS=64), else from the
    nearest phylocli.toml above the working folder, else from the user's config.toml ('phylocli doctor' says where), each
    with a table [train], else from the recipe.
    """
    from phylocli.config.assignments import parse_assignment
    from phylocli.core.errors import UsageError
    from phylocli.recipes import layers
    from phylocli.train import train_model

    if config is not None and recipe is not None:
        raise UsageError("--recipe and --config exclude each other", fix="say one of them, and --set what shall differ")
    changes = dict(parse_assignment(text) for text in settings or [])
    if on_divergence is not None:
        changes["on_divergence"] = on_divergence
    train_model(
        list(inputs or []),
        output,
        recipe=config or recipe,
        steps=steps,
        seed=seed,
        device=device,
        resume=resume,
        settings=changes,
        layers=layers.collect(),
        cache=False if no_cache else cache or True,
    )
