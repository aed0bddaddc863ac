"""Build a sequence similarity network: GraphML for Cytoscape, edges, communities, an interactive page."""

from __future__ import annotations

from typing import Annotated

import typer

from phylocli.cli._options import LabelsOption, Output, TableModelOption, TableSequencesOption
from phylocli.config.network import NetworkConfig

EXAMPLES = [
    "phylocli network db.parquet --max-evalue 1e-5 -o network.graphml --page network.html",
    "phylocli network proteins.fasta -k 10 > edges.tsv",
    "phylocli network proteins.fasta --align --max-evalue 1e-20 --merge-identity 0.9 -o network.graphml --nodes nodes.tsv",
    "phylocli search db.parquet db.parquet --exclude-self | phylocli network - --max-evalue 1e-3 -o edges.parquet",
    "phylocli network all-against-all.m8 --min-identity 0.4 --labels labels.tsv -o network.html",
]


def command(
    config: NetworkConfig,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT|-",
            help="A table of embeddings; sequences in any input format, embedded first; hits of 'phylocli search', BLAST "
            "tabular output, or a table of edges. '-' or nothing is standard input.",
        ),
    ] = None,
    output: Output = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="tsv|csv|parquet|arrow|graphml|html",
            help="Output format: a list of edges, GraphML or a page. By default from the suffix, else TSV.",
        ),
    ] = None,
    page: Annotated[str | None, typer.Option("--page", metavar="HTML", help="Write an interactive page, too.")] = None,
    nodes: Annotated[
        str | None,
        typer.Option("--nodes", metavar="FILE", help="Write a table of the nodes: component, community, representative."),
    ] = None,
    labels: LabelsOption = None,
    sequences: TableSequencesOption = None,
    model: TableModelOption = None,
) -> None:
    """Build a sequence similarity network: proteins are nodes, and edges join those that are similar enough.

    Without options, each protein is joined with its 10 nearest by embedding; with thresholds, with all within them. Edges:
    source, target, weight, cosine, evalue; with --align or --rerank also bits and identity. The E-value of an edge is that
    of 'phylocli search', the smaller of the two directions. GraphML (-o network.graphml) opens in Cytoscape, with
    communities as a column of the nodes, and labels if they are given.

    Communities by the Leiden algorithm and pages need the extra 'network' (igraph); without it communities are connected
    components.
    """
    from phylocli.network.pipeline import network_file

    network_file(
        source,
        output,
        config,
        model=model,
        sequences=sequences,
        labels=labels,
        nodes=nodes,
        page=page,
        format=format,
    )
