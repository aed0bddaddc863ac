"""Turn protein sequences into embeddings."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from phylocli.cli._options import EmbeddingFormatOption, ModalityOption, ModelOption, Sources
from phylocli.config.embed import EmbedConfig
from phylocli.core.errors import UsageError

EXAMPLES = [
    "phylocli embed seqs.fasta -o emb.parquet",
    "phylocli embed seqs.fasta.gz --model run/model --half -o emb.parquet",
    "phylocli embed families.sto --per-residue -o residues.parquet",
    "phylocli embed seqs.fasta -o emb.npz",
    "phylocli embed 'proteomes/*.faa.gz' -o embeddings/ --shard 2/8",
    "phylocli embed s3://bucket/proteins.fasta.gz -o s3://bucket/embeddings/",
    "phylocli embed 3di.fasta --modality three_di --model run/model -o 3di.parquet",
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
    modality: ModalityOption = None,
) -> None:
    """Turn protein sequences into embeddings, one vector per sequence or per residue.

    Reads files of any size and number in bounded memory; writes Parquet, Arrow, TSV, CSV, NPZ, NPY, HDF5 or .pt in input
    order. Identical sequences are computed once; long ones in overlapping windows, never truncated. The embedding of a
    sequence does not depend on the other sequences or the batch. With -o FOLDER/ the result is written in parts, and an
    interrupted run continues where it stopped; --shard divides the parts among machines.

    With --modality, values of another modality than sequences (FASTA of 3Di letters, a column of a table) are embedded
    by a model of several modalities, into its joint space, for 'search --modality'; of the options, --device, --threads and
    --format apply.
    """
    if output is None and sys.stdout.isatty():
        raise UsageError(
            "an embedding is a row of hundreds of numbers, and the output is a terminal",
            fix="name a file, as in -o emb.parquet; '-o -' prints them anyway",
        )
    from phylocli.formats.tables import EMBEDDINGS, parse_format

    parsed = parse_format(format, known=EMBEDDINGS)
    if modality is not None:
        from phylocli.embed.modalities import embed_modality_file

        embed_modality_file(source, output, modality, config, model=model, format=parsed)
        return
    from phylocli.embed import embed_file

    embed_file(source, output, config, model=model, format=parsed)
