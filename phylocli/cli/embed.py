"""Turn protein sequences into embeddings."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from phylocli.cli._options import EmbeddingFormatOption, ModelOption, Sources
from phylocli.config.embed import EmbedConfig
from phylocli.core.errors import UsageError

EXAMPLES = [
    "phylocli embed seqs.fasta -o emb.parquet",
    "phylocli embed seqs.fasta.gz --model run/model --half -o emb.parquet",
    "phylocli embed families.sto --per-residue -o residues.parquet",
    "phylocli embed seqs.fasta -o emb.npz",
    "phylocli embed 'proteomes/*.faa.gz' -o embeddings/ --shard 2/8",
    "zcat seqs.fasta.gz | phylocli embed - --format tsv | head",
]


def command(
    config: EmbedConfig,
    source: Sources = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE|FOLDER/|-", help="Table to write, or a folder of Parquet parts (resumable)."
        ),
    ] = None,
    model: ModelOption = None,
    format: EmbeddingFormatOption = None,
) -> None:
    """Turn protein sequences into embeddings, one vector per sequence or per residue.

    Reads files of any size and number in bounded memory; writes Parquet, Arrow, TSV, CSV, NPZ, NPY, HDF5 or .pt in input
    order. Identical sequences are computed once; long ones in overlapping windows, never truncated. The embedding of a
    sequence does not depend on the other sequences or the batch. With -o FOLDER/ the result is written in parts, and an
    interrupted run continues where it stopped; --shard divides the parts among machines.
    """
    if output is None and sys.stdout.isatty():
        raise UsageError(
            "an embedding is a row of hundreds of numbers, and the output is a terminal",
            fix="name a file, as in -o emb.parquet; '-o -' prints them anyway",
        )
    from phylocli.embed import embed_file
    from phylocli.formats.tables import EMBEDDINGS, parse_format

    embed_file(source, output, config, model=model, format=parse_format(format, known=EMBEDDINGS))
