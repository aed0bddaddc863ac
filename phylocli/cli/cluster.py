"""Cluster embeddings by cosine or into K groups, each with a representative."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from phylocli.cli._options import Output, TableFormatOption
from phylocli.config.cluster import ClusterConfig

logger = logging.getLogger(__name__)

EXAMPLES = [
    "phylocli cluster emb.parquet > clusters.tsv",
    "phylocli cluster emb.parquet --min-cosine 0.9 --representatives ids.txt -o clusters.parquet",
    "phylocli cluster emb.parquet -k 20 -o clusters.tsv",
]


def command(
    config: ClusterConfig,
    embeddings: Annotated[
        str, typer.Argument(metavar="TABLE|-", help="Table of embeddings, in any format that 'embed' writes.")
    ],
    output: Output = None,
    representatives: Annotated[
        str | None,
        typer.Option("--representatives", metavar="FILE", help="Write the ids of the representatives, one per line."),
    ] = None,
    format: TableFormatOption = None,
) -> None:
    """Cluster embeddings: id, cluster (the largest is 1), representative, cosine with the representative.

    With --min-cosine, each member has at least that cosine with the representative of its cluster; with -k, there are K
    clusters by k-means. The same table gives the same clusters.
    """
    from phylocli.core.words import counted
    from phylocli.formats.provenance import write_sidecar
    from phylocli.formats.streams import open_text_output
    from phylocli.formats.tables import clusters_schema, parse_format, write_table
    from phylocli.search.neighbourhoods.clustering import cluster_embeddings

    table_format = parse_format(format, output)
    found = cluster_embeddings(embeddings, config)
    chosen = found.unique("cluster").sort("cluster")["representative"].to_list()
    write_table(found, output, clusters_schema(), table_format)
    write_sidecar(output, "cluster", config.to_parameters(), config.seed)
    if representatives is not None:
        with open_text_output(representatives) as stream:
            stream.writelines(f"{name}\n" for name in chosen)
    logger.info(f"{counted(len(found), 'embedding')} in {counted(len(chosen), 'cluster')}")
