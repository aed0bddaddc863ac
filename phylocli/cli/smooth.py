"""Average embeddings with their nearest neighbours, so that searches find more distant relatives."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from phylocli.cli._options import EmbeddingFormatOption, Output, TableModelOption
from phylocli.config.smooth import SmoothConfig
from phylocli.core.errors import UsageError

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli smooth db.parquet -o db.smooth.parquet",
    "phylocli embed query.fasta --format parquet | phylocli smooth - --among db.parquet -o query.smooth.parquet",
    "phylocli search query.smooth.parquet db.smooth.parquet > hits.tsv",
    "phylocli smooth emb.parquet -k 5 | phylocli cluster - > clusters.tsv",
    "phylocli smooth db.parquet --by both --sequences db.fasta -o db.smooth.parquet",
]


def command(
    config: SmoothConfig,
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE|-", help="Table of embeddings, in any format that 'embed' writes.")
    ],
    output: Output = None,
    among: Annotated[
        str | None,
        typer.Option(
            "--among",
            metavar="TABLE",
            help="Table with the neighbours: for queries, that of the targets before it was smoothed.",
        ),
    ] = None,
    sequences: Annotated[
        str | None, typer.Option("--sequences", metavar="FASTA", help="The sequences of the table, for --by.")
    ] = None,
    among_sequences: Annotated[
        str | None, typer.Option("--among-sequences", metavar="FASTA", help="The sequences of the --among table, for --by.")
    ] = None,
    model: TableModelOption = None,
    format: EmbeddingFormatOption = None,
) -> None:
    """Average embeddings with their reciprocal nearest neighbours, without labels or training.

    For a single search, use 'search --smooth'. For several, smooth the targets once, and the queries --among the targets as
    'embed' wrote them; such hits have no E-values. E-values of alignments (--by) are kept in a file beside the table.
    """
    from phylocli.core.words import counted
    from phylocli.formats.provenance import write_sidecar
    from phylocli.formats.tables import EMBEDDINGS, RECORDING, format_of, parse_format
    from phylocli.search.neighbourhoods.smoothing import smooth_embeddings

    parsed = parse_format(format, output, known=EMBEDDINGS)
    if output is not None and Path(output).is_dir():
        raise UsageError(f"{output} is a folder, but the output is a file", fix=f"name a file in it: {output}/NAME.parquet")
    if output is not None and any(source is not None and _same(output, source) for source in (embeddings, among)):
        raise UsageError(
            f"{output} is an input and would be overwritten",
            why="queries are smoothed among the table before it was smoothed",
            fix="give the output another name",
        )
    found = smooth_embeddings(embeddings, among, config, sequences=sequences, among_sequences=among_sequences, model=model)
    found.write("-" if output is None else output, parsed)
    kind = parsed or (format_of(output, known=EMBEDDINGS) if output is not None else "tsv")
    if kind not in RECORDING and output is not None:
        logger.warning(
            f"{output}: {kind} does not record that embeddings have been smoothed; for a search write Parquet or Arrow"
        )
    write_sidecar(output, "smooth", {**config.to_parameters(), "neighbours": config.kept, "among": among})
    logger.info(f"{counted(len(found), 'smoothed embedding')}" + (f": {output}" if output is not None else ""))


def _same(one: str, other: str) -> bool:
    return Path(one).exists() and Path(other).exists() and Path(one).samefile(other)
