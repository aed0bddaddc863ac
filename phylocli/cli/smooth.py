"""Average embeddings with their nearest neighbours, so that searches find more distant relatives."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from phylocli.cli._options import EmbeddingFormatOption, Output
from phylocli.config.smooth import SmoothConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli smooth db.parquet -o db.smooth.parquet",
    "phylocli embed query.fasta | phylocli smooth - --among db.parquet | phylocli search - db.smooth.parquet",
    "phylocli smooth emb.parquet -k 5 | phylocli cluster - > clusters.tsv",
]


def command(
    config: SmoothConfig,
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE|-", help="Table of embeddings, in any format that 'embed' writes.")
    ],
    output: Output = None,
    among: Annotated[
        str | None,
        typer.Option("--among", metavar="TABLE", help="Take the neighbours from this table: queries among the targets."),
    ] = None,
    format: EmbeddingFormatOption = None,
) -> None:
    """Average embeddings with their reciprocal nearest neighbours, without labels or training.

    For a single search, use 'search --smooth'. For several, smooth the targets once, and the queries --among the targets as
    'embed' wrote them; such hits have no E-values.
    """
    from phylocli.core.words import counted
    from phylocli.formats.provenance import write_sidecar
    from phylocli.formats.tables import EMBEDDINGS, parse_format
    from phylocli.search.neighbourhoods.smoothing import smooth_embeddings

    parsed = parse_format(format, output, known=EMBEDDINGS)
    found = smooth_embeddings(embeddings, among, config)
    found.write("-" if output is None else output, parsed)
    write_sidecar(output, "smooth", {**config.to_parameters(), "among": among})
    logger.info(f"{counted(len(found), 'smoothed embedding')}" + (f": {output}" if output is not None else ""))
