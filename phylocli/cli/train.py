"""Train an encoder on homolog pairs, by contrast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli import _options
from phylocli.config.train import TrainConfig

EXAMPLES = [
    "phylocli train trees.sto -o run",
    "phylocli train pairs.parquet -o run --steps 2000 --seed 1 --set critic.temperature=0.05",
    "phylocli train trees.sto -o run --set view.phylogenetic.min_dist=0.5 --set encoder.preset=medium --device cuda",
    "phylocli train --resume -o run",
    "phylocli train --config run/config.toml -o again",
]
NO_ARGS_IS_HELP = True


def command(
    config: TrainConfig,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="RUN_DIR", help="Folder of the run.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT…]", help="Family records with trees (Stockholm), or pairs tables; '-' is standard input."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint of RUN_DIR.")] = False,
    cache: _options.CacheOption = None,
    no_cache: _options.NoCacheOption = False,
) -> None:
    """Train an encoder by contrastive learning on homologs.

    From family records with trees, new pairs are sampled at every step; from a pairs table, its rows. RUN_DIR contains
    config.toml, metrics.parquet, checkpoints and, at the end, model/, for 'phylocli embed --model'.

    With --recipe latent-diffusion --latents MODEL, a diffusion model of the latent vectors of MODEL is trained, for
    'phylocli generate'. With --recipe dgi or infograph, the inputs are similarity networks or families with trees, and
    RUN_DIR/embeddings.parquet has the vectors of their nodes or of whole graphs; with graphs.labels, RUN_DIR/classes.tsv has
    the predicted classes of all families.

    Settings are taken from the command line, else from the environment (PHYLOCLI_TRAIN__BATCH__PAIRS=64), else from the
    nearest phylocli.toml above the working folder, else from the user's config.toml ('phylocli doctor' shows its path), each
    with a table [train], else from the recipe.
    """
    from phylocli.train import train_model

    train_model(inputs or [], output, config, resume=resume, cache=False if no_cache else cache or True)
