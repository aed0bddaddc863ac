"""Classify sequences by descriptions of the classes in words."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import Output
from phylocli.config.classify import ClassifyConfig

EXAMPLES = [
    "phylocli classify seqs.fasta --labels classes.tsv --model run/model > classes_of_seqs.tsv",
    "phylocli classify seqs.fasta --labels classes.tsv --model run/model -k 5 -o top5.parquet",
]


def command(
    config: ClassifyConfig,
    sequences: Annotated[str, typer.Argument(metavar="SEQUENCES|-", help="Proteins in any input format.")],
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            "-l",
            metavar="TABLE",
            help="Classes: a table with the columns label and, if there is one, description.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="NAME|FOLDER", help="A model of a run with --modalities sequence,text."),
    ],
    output: Output = None,
) -> None:
    """Assign sequences to classes that are described in words, or to none of them: id, rank, label, probability, cosine.

    The classes need not have been trained on (zero-shot). Their descriptions, such as names of families or of GO terms, are
    compared with the sequences in the joint space of a model of sequences and texts. Probabilities are calibrated on the
    rows that training held out, also of sequences whose class is not listed ('none of these').
    """
    from phylocli.cross_modal import classify_file

    classify_file(sequences, labels, output, config, model=model)
