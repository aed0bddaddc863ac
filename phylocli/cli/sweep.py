"""Train several recipes, settings and seeds on the same families, as one table and one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options

EXAMPLES = [
    "phylocli sweep trees.sto -o sweep --recipe simclr --recipe siglip --seeds 0,1,2",
    "phylocli sweep trees.sto -o sweep --bands 0:0.5,0.5:1,1:2 --seeds 0,1,2 --steps 300",
    "phylocli sweep trees.sto -o sweep --vary critic.temperature=0.05,0.1,0.2 --set encoder.preset=tiny --jobs 2",
]
NO_ARGS_IS_HELP = True


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT…", help="Family records with trees (Stockholm), or pairs tables; files."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the sweep.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE", help="A recipe; may be repeated. Default: simclr.", autocompletion=_options.recipe_names
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="KEY=A,B,C", help="A setting and its values; with several, every combination."),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(metavar="A:B,B:C,…", help="Bands of patristic distance to sample pairs from."),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="S,S,…", help="Every combination is run with each.")] = "0",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of all runs; may be repeated."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Optimiser steps of each run; default: the recipe's.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute; default: auto.")] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Runs at a time.")] = 1,
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="What the figure shows: final_ or best_ and a validation column.")
    ] = "final_val_accuracy",
    cache: _options.CacheOption = None,
) -> None:
    """Train every combination of recipes, settings and seeds on the same families, which are compiled once.

    DIR contains runs/ (one run folder each), results.tsv and .parquet (one row per run), summary.tsv and .parquet (means and
    95 % intervals over seeds), sweep.svg and sweep.html. Running the same command again skips completed runs, resumes
    interrupted ones, and retries failed ones; a failed run does not stop the others.
    """
    from phylocli.config import layers
    from phylocli.config.assignments import parse_assignment
    from phylocli.train import sweep as room

    changes = dict(parse_assignment(text) for text in settings or [])
    source = str(changes.get("view.name", "phylogenetic")).split("+")[0]
    variations = [room.vary(text) for text in vary or []]
    room.sweep(
        list(inputs),
        output,
        recipes=recipe or [],
        variations=[*variations, room.bands(bands, source)] if bands else variations,
        seeds=room.seeds(seeds),
        settings=changes,
        steps=steps,
        device=device,
        jobs=jobs,
        metric=metric,
        layers=layers.collect("train"),
        cache=cache or True,
    )
