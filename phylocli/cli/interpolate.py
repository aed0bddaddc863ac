"""Write sequences between two sequences, decoded from latent vectors between theirs."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import ModelOption, Output
from phylocli.config.interpolate import InterpolateConfig

EXAMPLES = [
    "phylocli interpolate a.fasta b.fasta --model run/model --steps 8 -o between.fasta",
    "phylocli interpolate HBA_MACFA HBB_MANSP --sequences globins.fasta --model run/model --part w -o between.fasta",
]


def command(
    config: InterpolateConfig,
    a: Annotated[str, typer.Argument(metavar="A", help="A file with one sequence; or its id, with --sequences.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    output: Output = None,
    model: ModelOption = None,
    sequences: Annotated[
        str | None, typer.Option("--sequences", metavar="FILE", help="A file that contains both; A and B are then ids.")
    ] = None,
) -> None:
    """Interpolate between the latent vectors of two sequences, and decode.

    Along all of the latent vector, or along one part (--part y or w) while the other stays that of A. Writes FASTA from A to
    B, both of them reconstructed; the headers give t (0 at A, 1 at B) and the identities with A and B. Needs a model with a
    decoder (--model), see 'phylocli recipes show hybrid'.
    """
    from phylocli.generate import interpolate_file

    interpolate_file(a, b, output, config, model=model, sequences=sequences)
