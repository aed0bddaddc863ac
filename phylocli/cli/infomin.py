"""Ask which views make good embeddings: quality against the information that the two views share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options

EXAMPLES = [
    "phylocli infomin families.sto -o infomin",
    "phylocli infomin trees.sto -o infomin --bands 0:0.5,0.5:1,1:2 --view substitution --steps 100 --seeds 0,1",
    "phylocli infomin trees.sto -o infomin --evaluate others.sto --quality patristic --jobs 2",
]
NO_ARGS_IS_HELP = True


def command(
    families: Annotated[
        str, typer.Argument(metavar="FAMILIES", help="Family records (Stockholm); trees are made if they lack.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the analysis.")],
    bands: Annotated[
        str, typer.Option(metavar="A:B,B:C,…", help="Bands of patristic distance of the phylogenetic view.")
    ] = "0:0.25,0.25:0.5,0.5:1,1:1.5,1.5:2.5",
    view: Annotated[
        list[str] | None,
        typer.Option(
            "--view",
            metavar="NAME",
            help="Another view beside them, or none; may be repeated. Default: substitution, crop, dropout, hmm-emission.",
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE", help="How is trained; its view is replaced.")] = "simclr",
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Optimiser steps of each run.")] = 200,
    seeds: Annotated[str, typer.Option(metavar="S,S,…", help="Every view is trained with each.")] = "0,1,2",
    quality: Annotated[str, typer.Option(metavar="retrieval|clan|patristic", help="What the figure shows.")] = "retrieval",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of all runs; may be repeated.")
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option(
            "--evaluate", metavar="FAMILIES", help="Measure quality on these families instead of on held-out members."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, metavar="N", help="Runs at a time.")] = 1,
    cache: _options.CacheOption = None,
) -> None:
    """Train short runs over bands of branch distance and over other views, and draw quality against shared nats.

    InfoMin analysis (Tian et al. 2020). DIR gets infomin.svg, infomin.html, infomin.tsv and .parquet (a row a view),
    runs.tsv and .parquet (a row a run), and the runs themselves; the same command goes on with what is left to do.
    """
    from phylocli.config.assignments import parse_assignment
    from phylocli.infomin import analyse
    from phylocli.infomin.cells import OTHERS
    from phylocli.train.sweep import seeds as parse_seeds

    analyse(
        families,
        output,
        bands=bands,
        others=OTHERS if view is None else [name for name in view if name != "none"],
        recipe=recipe,
        steps=steps,
        seeds=parse_seeds(seeds),
        quality=quality,
        settings=dict(parse_assignment(text) for text in settings or []),
        evaluate=evaluate,
        jobs=jobs,
        cache=cache or True,
    )
