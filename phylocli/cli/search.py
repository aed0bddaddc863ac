"""Find the nearest proteins of each query, with E-values."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import ModalityOption, Output, TableModelOption, TableSequencesOption
from phylocli.config.search import SearchConfig
from phylocli.core.errors import UsageError

EXAMPLES = [
    "phylocli search query.fasta proteome.fasta.gz > hits.tsv",
    "phylocli embed db.fasta -o db.parquet && phylocli search query.fasta db.parquet -k 20 > hits.tsv",
    "phylocli search db.parquet db.parquet --exclude-self --max-evalue 0.01 -o neighbours.parquet",
    "phylocli search query.fasta db.parquet --smooth 20 --smooth-by both --sequences db.fasta > hits.tsv",
    "phylocli search query.fasta db.fasta -k 100 --align -o hits.m8",
    "phylocli search query.fasta db.parquet --rerank residues --candidates 1000 --sequences db.fasta > hits.tsv",
    "phylocli search --text 'heme-binding oxygen transport' db.parquet --model run/model > hits.tsv",
    "phylocli search query.fasta uniref50/ --approximate -o hits.tsv",
    "phylocli search query.fasta uniref50/ --quantise int8 -o hits.tsv",
]


def command(
    config: SearchConfig,
    queries: Annotated[
        str,
        typer.Argument(
            metavar="QUERIES|-",
            help="Sequences in any input format, embedded by the targets' model, or a table of embeddings. Left out with "
            "--text.",
        ),
    ],
    targets: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGETS|-",
            help="A table or folder written by 'phylocli embed', or sequences in any input format, embedded first.",
        ),
    ] = None,
    output: Output = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="tsv|csv|parquet|arrow|m8",
            help="Output format; m8 is BLAST tabular. By default from the suffix, else TSV.",
        ),
    ] = None,
    sequences: TableSequencesOption = None,
    model: TableModelOption = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="Search a table by a description in words; may be repeated."),
    ] = None,
    modality: ModalityOption = None,
) -> None:
    """Find the nearest proteins of each query: query, target, rank, cosine, evalue.

    evalue: the number of unrelated targets expected to be as similar to this query by chance. It is estimated from the
    query's cosines with 2,560 unrelated proteins that ship with phylocli, and depends only on the query, the target, the
    model and the number of targets. Hits far below 1 are unlikely to be due to chance.

    --rerank residues finds many more homologs: it aligns the hits, and residues_evalue is the number of unrelated targets
    expected to align as well by chance. --align does so with phmmer. With both, both_evalue is the smaller of the two,
    doubled. Aligned hits have positions, identity and bits; --format m8 writes them as BLAST does.

    With a model of several modalities (train --modalities), a table of its sequence embeddings is searched by --text, or by
    queries of another --modality; such hits have no E-values.

    --smooth finds more distant relatives: it ranks by vectors averaged with their neighbours among the targets. Neighbours
    by alignment (--smooth-by both) give the highest sensitivity for families and superfamilies; the alignments of a table
    are kept beside it.

    The search is exact, and equal hits are in the order of the targets, unless --approximate or --quantise is given.
    """
    from phylocli.search.pipeline import parse_hits_format, search_file

    parsed = parse_hits_format(format)
    if text:
        if targets is not None or modality is not None:
            raise UsageError("--text takes the place of the queries", fix="name the table only: search --text TEXT TABLE")
        targets = queries
    elif targets is None:
        raise UsageError("No targets given", fix="name queries and targets, or use --text TEXT with a table")
    if text or modality is not None:
        from phylocli.cross_modal.retrieval import search_across_file

        if sequences is not None:
            raise UsageError("cross-modal search does not support --sequences", fix="leave it out: hits are not aligned")
        search_across_file(text or queries, targets, output, config, modality=modality, model=model, format=parsed)
        return
    search_file(queries, targets, output, config, model=model, sequences=sequences, format=parsed)
