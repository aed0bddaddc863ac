"""Generate new sequences from a latent diffusion model."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output, model_names
from phylocli.config.generate import GenerateConfig

EXAMPLES = [
    "phylocli generate diffusion/model -n 100 -o new.fasta",
    "phylocli generate diffusion/model --family PF00042 --guidance 2 -n 20 --seed 1 -o new.fasta",
    "phylocli generate diffusion/model --steps 200 --eta 1 --temperature 1 -o diverse.fasta",
]


def command(
    config: GenerateConfig,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model with a decoder and a latent diffusion model, by name or folder.",
            autocompletion=model_names,
        ),
    ],
    output: Output = None,
) -> None:
    """Sample latent vectors by a denoising diffusion implicit model, decode them, and write FASTA.

    MODEL is the model folder of a run of 'phylocli train --recipe latent-diffusion --latents run/model', whose latent
    vectors are those of a run of --recipe hybrid. The same model, options and seed give the same sequences.
    """
    from phylocli.generate import generate_file

    generate_file(model, output, config)
