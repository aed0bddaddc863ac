"""Compare views for contrastive training: embedding quality against the information that two views share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options
from phylocli.config.infomin import InfominConfig

EXAMPLES = [
    "phylocli infomin families.sto -o infomin",
    "phylocli infomin trees.sto -o infomin --bands 0:0.5,0.5:1,1:2 --views substitution --steps 100 --seeds 0,1",
    "phylocli infomin trees.sto -o infomin --evaluate others.sto --quality patristic --jobs 2",
]
NO_ARGS_IS_HELP = True


def command(
    config: InfominConfig,
    families: Annotated[
        str, typer.Argument(metavar="FAMILIES", help="Family records (Stockholm); missing trees are inferred.")
    ],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the analysis.")],
    evaluate: Annotated[
        Path | None,
        typer.Option(
            "--evaluate", metavar="FAMILIES", help="Evaluate quality on these families instead of on held-out members."
        ),
    ] = None,
    cache: _options.CacheOption = None,
) -> None:
    """Train short runs over bands of branch distance and over other views, and plot quality against shared information.

    InfoMin analysis (Tian et al. 2020). DIR gets infomin.svg, infomin.html, infomin.tsv and .parquet (one row per view),
    runs.tsv and .parquet (one row per run), and the runs themselves; the same command resumes an interrupted analysis.
    """
    from phylocli.infomin import analyse

    analyse(families, output, config, evaluate=evaluate, cache=cache or True)
