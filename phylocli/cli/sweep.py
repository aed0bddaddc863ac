"""Train several recipes, settings and seeds on the same families, as one table and one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options
from phylocli.config.sweep import SweepConfig

EXAMPLES = [
    "phylocli sweep trees.sto -o sweep --recipes simclr --recipes siglip --seeds 0,1,2",
    "phylocli sweep trees.sto -o sweep --bands 0:0.5,0.5:1,1:2 --seeds 0,1,2 --steps 300",
    "phylocli sweep trees.sto -o sweep --vary critic.temperature=0.05,0.1,0.2 --set train.encoder.preset=tiny --jobs 2",
]
NO_ARGS_IS_HELP = True


def command(
    config: SweepConfig,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT…", help="Family records with trees (Stockholm), or pairs tables; files."),
    ],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder of the sweep.")],
    cache: _options.CacheOption = None,
) -> None:
    """Train every combination of recipes, settings and seeds on the same families, which are compiled once.

    DIR contains runs/ (one run folder each), results.tsv and .parquet (one row per run), summary.tsv and .parquet (means and
    95 % intervals over seeds), sweep.svg and sweep.html. Running the same command again skips completed runs, resumes
    interrupted ones, and retries failed ones; a failed run does not stop the others.
    """
    from phylocli.train.sweep import sweep

    sweep(list(inputs), output, config, cache=cache or True)
