"""Find the nearest proteins of a table of embeddings, with E-values."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from phylocli.cli._options import Device, FeaturesOption, IdColumnOption, ModelOption, Output, Threads

EXAMPLES = [
    "phylocli embed db.fasta -o db.parquet && phylocli search query.fasta db.parquet -k 20 > hits.tsv",
    "phylocli search db.parquet db.parquet --no-self --max-evalue 0.01 -o neighbours.parquet",
    "phylocli search query.fasta db.parquet -k 100 --align --sequences db.fasta -o hits.tsv",
    "phylocli search query.fasta db.parquet --rerank residues --candidates 1000 --sequences db.fasta > hits.tsv",
    "phylocli search query.fasta uniref50/ --approximate -o hits.tsv",
]


def command(
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES|-",
            help="Sequences (FASTA, Stockholm, FASTQ, GenBank), embedded by the table's model, or a table of embeddings.",
        ),
    ],
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="What is searched: a table or folder that 'phylocli embed' wrote.")
    ],
    output: Output = None,
    k: Annotated[int, typer.Option("-k", metavar="K", min=1, help="Hits of a query.")] = 20,
    max_evalue: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--max-evalue", "-e", min=0, metavar="E", help="Leave out hits with a larger E-value."),
    ] = None,
    no_self: Annotated[bool, typer.Option("--no-self", help="A row with the query's own id is no hit.")] = False,
    model: ModelOption = None,
    align: Annotated[
        bool, typer.Option("--align", help="Align the hits with phmmer, and order them by its bits; with --rerank, by both.")
    ] = False,
    rerank: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--rerank", metavar="residues", help="Align the hits by their residues' embeddings, and order them by that."
        ),
    ] = None,
    sequences: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--sequences", metavar="FASTA", help="The table's sequences, for --align and --rerank."),
    ] = None,
    candidates: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--candidates", metavar="N", min=1, help="Align the N nearest rows, and keep the best K (default: K)."),
    ] = None,
    features: FeaturesOption = None,
    id_column: IdColumnOption = None,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help="Through a graph beside the table, built at first use: for millions of rows."),
    ] = False,
    format: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--format", metavar="tsv|csv|parquet|arrow", help="Format (default: by suffix; TSV in pipes)."),
    ] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Find the nearest proteins of a table of embeddings: query, target, rank, cosine, evalue.

    evalue: the number of unrelated rows expected to be as near to this query by chance. It is estimated from the query's
    cosines with 4,096 unrelated proteins that come with phylocli, and depends on the query, the target, the model and the
    number of rows alone. Hits far below 1 are unlikely to be chance.

    --rerank residues finds many more relatives: it aligns the hits, and residues_evalue is the number of unrelated rows
    expected to be as near and to align as well. With --align too, both_evalue is the better of the two, doubled. Both need
    the table's sequences.

    The search is exact and the order of equal hits that of the table, unless --approximate is said. --model is needed only
    where the model that made the table is neither one that has a name nor where it was.
    """
    from phylocli.formats.tables import parse_format
    from phylocli.search import search_file

    search_file(
        queries,
        table,
        output,
        k=k,
        model=model,
        max_evalue=max_evalue,
        leave_out_self=no_self,
        rerank=rerank,
        aligned=align,
        candidates=candidates,
        sequences=sequences,
        features=features,
        id_column=id_column,
        approximate=approximate,
        device=device,
        threads=threads,
        format=parse_format(format),
    )
