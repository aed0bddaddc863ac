"""Predict 3Di letters, secondary structure or profiles from sequences or aligned families."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import ModelOption, Output, Sources
from phylocli.config.predict import PredictConfig

EXAMPLES = [
    "phylocli predict seqs.fasta --model run/model -o 3di.fasta",
    "phylocli predict seqs.fasta --model run/model --what ss --confidence ss.tsv -o ss.fasta",
    "phylocli predict seqs.fasta --model run/model --what profile -o profiles.hmm",
    "phylocli predict query.fasta --model run/model --what profile -o query.pssm",
]


def command(
    config: PredictConfig,
    source: Sources = None,
    output: Output = None,
    model: ModelOption = None,
    confidence: Annotated[
        str | None,
        typer.Option(
            "--confidence",
            metavar="FILE",
            help="Table of every residue: id, position, residue, state, probability (TSV, CSV, Parquet or Arrow by suffix).",
        ),
    ] = None,
) -> None:
    """Predict for every residue of a sequence its 3Di letter, its secondary structure, or the profile of its family.

    From the sequence alone, or with its homologs (--per-family), by the default model or another one (--model) that was
    trained with heads: see 'phylocli recipes show evolution-structure'. 3Di letters and secondary structure are written as
    FASTA, profiles as HMMER3 profiles, which hmmsearch reads, or for one sequence as a PSI-BLAST matrix. Long sequences
    are computed in overlapping windows.
    """
    from phylocli.predict import predict_file

    predict_file(source, output, config, model=model, confidence=confidence)
