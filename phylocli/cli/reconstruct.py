"""Decode sequences from their own latent vectors, to see what a model keeps."""

from __future__ import annotations

from phylocli.cli._options import ModelOption, Output, Sources
from phylocli.config.reconstruct import ReconstructConfig

EXAMPLES = [
    "phylocli reconstruct seqs.fasta --model run/model -o again.fasta",
    "phylocli reconstruct seqs.fasta --model run/model --temperature 1 --seed 3 -o samples.fasta",
]


def command(config: ReconstructConfig, source: Sources = None, output: Output = None, model: ModelOption = None) -> None:
    """Encode sequences as latent vectors and decode them again.

    Writes FASTA with the ids of the input; the headers give the identity with the input (identical residues of a global
    alignment, as a fraction of the longer sequence) and the log likelihood of the input given its latent vector, in nats.
    Needs a model with a decoder (--model), see 'phylocli recipes show hybrid'; the model included in phylocli has none.
    """
    from phylocli.generate import reconstruct_file

    reconstruct_file(source, output, config, model=model)
