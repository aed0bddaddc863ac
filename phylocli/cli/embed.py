"""Turn protein sequences into embeddings."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import ModelOption, OnDuplicateOption, Threads

EXAMPLES = [
    "phylocli embed seqs.fasta -o emb.parquet",
    "phylocli embed seqs.fasta.gz --model run/model --half -o emb.parquet",
    "phylocli embed families.sto --per-residue -o residues.parquet",
    "phylocli embed 'proteomes/*.faa.gz' -o embeddings/ --shard 2/8",
    "zcat seqs.fasta.gz | phylocli embed - --format tsv | head",
]


def command(
    source: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[INPUT|-]...",
            help="FASTA, Stockholm, FASTQ or GenBank, compressed or not; patterns such as '*.faa'; '-' or nothing is "
            "standard input.",
        ),
    ] = None,
    output: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "-o", "--output", metavar="FILE|FOLDER/|-", help="Table to write, or a folder of Parquet parts: resumable."
        ),
    ] = None,
    model: ModelOption = None,
    pool: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--pool", metavar="mean|max|first", help="Pool residues this way instead of the model's own."),
    ] = None,
    per_residue: Annotated[bool, typer.Option("--per-residue", help="Write one row a residue, not one a sequence.")] = False,
    layer: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--layer", metavar="K", min=0, help="Take residues after this layer (default: the last)."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Write half precision (float16).")] = False,
    format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", metavar="tsv|csv|parquet|arrow", help="Format (default: by suffix; TSV in pipes)."),
    ] = None,
    untrained: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--untrained", metavar="SEED", help="The same architecture with random weights: a baseline for probe."),
    ] = None,
    batch_tokens: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Residues computed at once (0: to suit the device); changes no result."),
    ] = 0,
    shard: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--shard", metavar="K/N", help="Compute every N-th part of the folder, from the K-th on."),
    ] = None,
    shard_size: Annotated[
        int, typer.Option(metavar="N", min=0, help="Sequences of a part (0: 50,000; 1,000 with --per-residue).")
    ] = 0,
    on_duplicate: OnDuplicateOption = "error",
    device: Annotated[
        str,
        typer.Option(metavar="auto|cpu|cuda|mps", help="Where to compute; several with commas share the parts of a folder."),
    ] = "auto",
    threads: Threads = 0,
) -> None:
    """Turn protein sequences into embeddings, one vector a sequence or a residue.

    Reads files of any size and number, in bounded memory; writes Parquet, Arrow, TSV or CSV in input order. Identical
    sequences are computed once; long ones in overlapping windows, never cut short. The embedding of a sequence does not
    depend on its neighbours or the batch. With -o FOLDER/ the result comes in parts, and a run that was killed goes on where
    it was; --shard shares the parts among machines.
    """
    from typing import cast

    from phylocli.embed import embed_file
    from phylocli.formats.sequences.fasta import OnDuplicate
    from phylocli.formats.tables import parse_format

    embed_file(
        source,
        output,
        model=model,
        pool=pool,
        per_residue=per_residue,
        layer=layer,
        device=device,
        batch_tokens=batch_tokens,
        half=half,
        format=parse_format(format),
        on_duplicate=cast(OnDuplicate, on_duplicate),
        untrained=untrained,
        threads=threads,
        shard=shard,
        shard_size=shard_size,
    )
