"""Find the nearest proteins of a table of embeddings, with E-values."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import ModelOption, Output, TableFormatOption
from phylocli.config.search import SearchConfig
from phylocli.formats.input_formats import SEQUENCE_FORMATS

EXAMPLES = [
    "phylocli embed db.fasta -o db.parquet && phylocli search query.fasta db.parquet -k 20 > hits.tsv",
    "phylocli search db.parquet db.parquet --exclude-self --max-evalue 0.01 -o neighbours.parquet",
    "phylocli search query.fasta db.parquet -k 100 --align --sequences db.fasta -o hits.tsv",
    "phylocli search query.fasta db.parquet --rerank residues --candidates 1000 --sequences db.fasta > hits.tsv",
    "phylocli search query.fasta uniref50/ --approximate -o hits.tsv",
]


def command(
    config: SearchConfig,
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES|-",
            help=f"Sequences ({SEQUENCE_FORMATS}), embedded by the table's model, or a table of embeddings.",
        ),
    ],
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="Target embeddings: a table or folder written by 'phylocli embed'.")
    ],
    output: Output = None,
    model: ModelOption = None,
    sequences: Annotated[
        str | None,
        typer.Option("--sequences", metavar="FASTA", help="The target sequences, for --align and --rerank."),
    ] = None,
    format: TableFormatOption = None,
) -> None:
    """Find the nearest proteins of a table of embeddings: query, target, rank, cosine, evalue.

    evalue: the number of unrelated rows expected to be as similar to this query by chance. It is estimated from the query's
    cosines with 2,560 unrelated proteins that ship with phylocli, and depends only on the query, the target, the model and
    the number of rows. Hits far below 1 are unlikely to be due to chance.

    --rerank residues finds many more homologs: it aligns the hits, and residues_evalue is the number of unrelated rows
    expected to be as similar and to align as well. With --align too, both_evalue is the smaller of the two, doubled. Both
    need the target sequences.

    The search is exact, and equal hits are in the order of the table, unless --approximate is given. --model is needed only
    if the model that made the table has no name and has been moved.
    """
    from phylocli.formats.tables import parse_format
    from phylocli.search import search_file

    search_file(queries, table, output, config, model=model, sequences=sequences, format=parse_format(format))
