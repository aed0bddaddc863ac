"""From an input to a network: edges, representative nodes, communities; and its files."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phylocli.config.network import NetworkConfig
from phylocli.core.errors import UsageError, unknown_name
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed import load_model
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.networks import IntArray, Network, column_names, is_network, read_network, write_graphml
from phylocli.formats.provenance import write_sidecar
from phylocli.formats.streams import STDIO, PathLike, at_rest, is_file, open_output, suffix_of
from phylocli.formats.tables import TABLES, TableFormat, edges_schema, format_of, nodes_schema, write_table
from phylocli.network.communities import check_igraph, communities, cover
from phylocli.network.layout import layout
from phylocli.network.page import render_network
from phylocli.network.similarity import edges_by_alignment, edges_by_embedding, pairs_above, within
from phylocli.probe.map.labels import PointLabels, read_point_labels
from phylocli.search import PreparedTable
from phylocli.search.rerank import read_residues
from phylocli.search.targets import code_of, embed_targets, opened

if TYPE_CHECKING:
    import polars as pl

    from phylocli.formats import Sequences

logger = logging.getLogger(__name__)

NetworkFormat = TableFormat | Literal["graphml", "html"]

OTHERS: dict[str, Literal["graphml", "html"]] = {".graphml": "graphml", ".html": "html", ".htm": "html"}
"""Suffixes of networks besides those of tables."""


@dataclass(frozen=True)
class Built:
    """A network with its communities.

    Attributes:
        network: the network; its nodes are representatives if nodes are merged.
        communities: community of each node, (n,), numbered from 0 by decreasing size.
        method: how they were found, `leiden` or `components`.
        ids: the ids of all proteins, (N,).
        representative: the node of each protein, (N,).
        neighbours: with how many of its nearest each node is joined at most; None: all within the thresholds.

    Examples:
        >>> built = phylocli.build_network("examples/globins.fasta", min_cosine=0.6, communities="components")
        >>> len(built.ids), built.nodes().columns
        (45, ['id', 'representative', 'component', 'community', 'degree'])
    """

    network: Network
    communities: IntArray
    method: str
    ids: list[str]
    representative: IntArray
    neighbours: int | None = None

    @property
    def sizes(self) -> IntArray:
        """The number of proteins that each node represents, itself included, (n,)."""
        return np.bincount(self.representative, minlength=len(self.network)).astype(np.int64)

    def nodes(self) -> pl.DataFrame:
        """Return a frame of `tables.nodes_schema`: one row per protein, in the order of the input."""
        import polars as pl

        at = self.representative
        return pl.DataFrame(
            {
                "id": self.ids,
                "representative": [self.network.ids[node] for node in at],
                "component": self.network.components[at] + 1,
                "community": self.communities[at] + 1,
                "degree": self.network.degree[at],
            }
        )

    def edges(self) -> pl.DataFrame:
        """Return the edges, see `Network.to_polars`."""
        return self.network.to_polars()


def build_network(
    source: PathLike | EmbeddingTable | Network | Sequences | None,
    config: NetworkConfig | None = None,
    *,
    model: PathLike | None = None,
    sequences: PathLike | Sequences | Mapping[str, str] | None = None,
    **options: Any,
) -> Built:
    """Build a sequence similarity network.

    Args:
        source: a table of embeddings; sequences, which are embedded first; or edges: a table of them, hits of `search`,
            BLAST tabular output, or a `Network`. None is standard input.
        config: options; may also be given as keywords.
        model: name or folder of the model; None: found by the fingerprint in the table, or `default` for sequences.
        sequences: the sequences of a table of embeddings, for alignments; or a mapping from id to sequence.
        **options: fields of `NetworkConfig`.

    Raises:
        UsageError: options exclude each other, or need attributes that the edges lack.
        BadInputError: the input cannot be read, sequences are missing, or there are too many edges.
        MissingDependencyError: Leiden is asked for, but igraph is not installed.

    Examples:
        >>> table = phylocli.load_model("default").embed("examples/globins.fasta")
        >>> built = phylocli.build_network(table, number=3, communities="components")
        >>> built.edges().columns
        ['source', 'target', 'weight', 'cosine', 'evalue']
    """
    config = NetworkConfig.of(config, options)
    limit_threads(config.threads)
    with contextlib.ExitStack() as stack:
        if source is None or isinstance(source, str | os.PathLike):
            source = stack.enter_context(at_rest(STDIO if source is None else source))
            if not Path(source).is_dir() and is_network(source):
                source = read_network(source)
        elif not isinstance(source, EmbeddingTable | Network):
            source = list(source)
        if isinstance(source, Network):
            network, representative = _of_edges(source, config, model, sequences)
            ids, neighbours = source.ids, config.number  # without options, the edges as they are
        else:
            network, representative, ids = _of_proteins(source, config, model, sequences, stack)
            neighbours = config.neighbours
    found, method = communities(network, config.communities, config.resolution, config.seed)
    logger.info(
        f"{counted(len(network), 'node')}"
        + (f" for {counted(len(ids), 'protein')}" if len(network) < len(ids) else "")
        + f", {counted(len(network.ends), 'edge')}, "
        f"{counted(int(network.components.max(initial=-1)) + 1, 'component')}"
        + (f", {counted(int(found.max(initial=-1)) + 1, 'community')}" if method == "leiden" else "")
    )
    return Built(network, found, method, ids, representative, neighbours)


def _of_edges(network: Network, config: NetworkConfig, model: object, sequences: object) -> tuple[Network, IntArray]:
    """Return the network of given edges, and the node of each protein."""
    for given, option in ((config.aligns, "--align and --rerank"), (model, "--model"), (sequences, "--sequences")):
        if given:
            raise UsageError(f"{option} cannot be used: {network.name} contains edges", fix="give sequences or embeddings")
    representative = np.arange(len(network))
    for name, least in (("cosine", config.merge_cosine), ("identity", config.merge_identity)):
        if least is not None:
            similarity = network.attributes.get(name)
            if similarity is None:
                raise UsageError(
                    f"--merge-{name} needs edges with {name}", why=f"{network.name} has none", fix="leave the option out"
                )
            network, representative = _merged(network, representative, cover(network, similarity, least))
    return within(network, config, config.number), representative


def _merged(network: Network, earlier: IntArray, chosen: IntArray) -> tuple[Network, IntArray]:
    """Return the network of representatives, and the node of each protein.

    Args:
        network: the network before.
        earlier: the node of each protein before, (N,).
        chosen: the representative of each of its nodes, (n,).
    """
    kept = np.unique(chosen)
    return network.of_nodes(kept), np.searchsorted(kept, chosen[earlier])


def _of_proteins(
    source: PathLike | EmbeddingTable | Sequences,
    config: NetworkConfig,
    model: PathLike | None,
    sequences: PathLike | Sequences | Mapping[str, str] | None,
    stack: contextlib.ExitStack,
) -> tuple[Network, IntArray, list[str]]:
    """Return the network of embeddings or sequences, the node of each protein, and the ids of all."""
    found = opened(source, config.column_options)
    needs_letters = config.aligns or config.merge_identity is not None
    if not needs_letters and (config.min_bits is not None or config.min_identity is not None):
        raise UsageError("--min-bits and --min-identity need alignments", fix="add --align")
    if config.merge_identity is not None and not config.aligns:
        raise UsageError("--merge-identity needs alignments", fix="add --align")
    code = code_of(None if isinstance(found, EmbeddingTable) else found, config.code)
    if isinstance(found, EmbeddingTable):
        if config.translate:
            raise UsageError("--translate cannot be used: the input is a table of embeddings", fix="omit --translate")
        config.column_options.check_ids(found.taken)
        if needs_letters and sequences is None:
            raise UsageError(
                "alignment needs the sequences of the table", fix="add --sequences FASTA, or give the FASTA file"
            )
        targets = PreparedTable(found, model=model, device=config.device)
    else:
        if config.translate and code is None:
            raise UsageError("there are no nucleotides to translate", fix="omit --translate")
        embedder = load_model(model, config.device)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phylocli-")))
        targets = PreparedTable(embed_targets(found, embedder, folder, model, code), embedder=embedder)
        sequences = found if sequences is None else sequences
    ids = targets.table.ids
    representative = np.arange(len(ids))
    letters: dict[str, str] = {}
    if needs_letters and sequences is not None:
        letters = read_residues(ids, sequences, code, report=False)
    if config.merge_cosine is not None:
        vectors = targets.table.numpy()
        a, b, cosines = pairs_above(vectors, np.full(len(ids), config.merge_cosine))
        chosen = cover(Network.of("", ids, a, b, {"cosine": cosines}), cosines, config.merge_cosine)
        targets, representative = _merged_table(targets, representative, chosen)
    if not config.aligns:
        return within(edges_by_embedding(targets, config), config), representative, ids
    network = edges_by_alignment(targets, [letters[name] for name in targets.table.ids], config)
    if config.merge_identity is not None:
        chosen = cover(network, network.attributes["identical"], config.merge_identity)
        targets, representative = _merged_table(targets, representative, chosen)
        network = edges_by_alignment(targets, [letters[name] for name in targets.table.ids], config)
    network.attributes.pop("identical")
    return within(network, config, config.neighbours), representative, ids


def _merged_table(targets: PreparedTable, earlier: IntArray, chosen: IntArray) -> tuple[PreparedTable, IntArray]:
    """Return the table of representatives, and the node of each protein; see `_merged`."""
    table, kept = targets.table, np.unique(chosen)
    ids = [table.ids[row] for row in kept]
    lengths = None if table.lengths is None else [table.lengths[row] for row in kept]
    smaller = replace(table, ids=ids, vectors=table.numpy()[kept], files=[], lengths=lengths)
    logger.info(f"{counted(len(kept), 'representative')} of {counted(len(table), 'protein')}")
    return targets.of(smaller), np.searchsorted(kept, chosen[earlier])


def parse_network_format(text: str | None, output: PathLike | None) -> NetworkFormat:
    """Return the output format of a name, or else of the suffix of the output; TSV without both.

    Raises:
        UsageError: neither is a known format.
    """
    if text is None:
        if output is not None and is_file(output) and suffix_of(output) in OTHERS:
            return OTHERS[suffix_of(output)]
        return format_of(output, others=[*OTHERS])
    known = dict.fromkeys([*TABLES, "graphml", "html"])
    if text not in known:
        raise unknown_name("unknown format of networks", text, known)
    return text  # type: ignore[return-value]


def write_network(
    built: Built,
    output: PathLike | None,
    format: NetworkFormat | None = None,
    *,
    labels: PointLabels | None = None,
    config: NetworkConfig | None = None,
    title: str | None = None,
) -> None:
    """Write a network as a list of edges (TSV, CSV, Parquet, Arrow), GraphML, or an HTML page.

    Args:
        built: the network.
        output: a path, or `-`/None for standard output.
        format: the format; None: by the suffix.
        labels: labels of the nodes, for GraphML and the page.
        config: its edges' thresholds are described in the page.
        title: of the page; None: the name of the input.

    Examples:
        >>> built = phylocli.build_network("examples/globins.fasta", min_cosine=0.6, communities="components")
        >>> phylocli.write_network(built, "globins.graphml")
    """
    format = format or parse_network_format(None, output)
    network = built.network
    if format == "graphml":
        write_graphml(network, output, _columns(built, labels))
    elif format == "html":
        points = layout(network, built.communities, (config or NetworkConfig()).seed)
        page = render_network(built, points, labels, config or NetworkConfig(), title)
        with open_output(output) as stream:
            stream.write(page.encode())
    else:
        write_table(built.edges(), output, edges_schema([*network.columns][1:]), format)


def _columns(built: Built, labels: PointLabels | None) -> dict[str, Any]:
    """Return the attributes of the nodes in GraphML."""
    found: dict[str, Any] = {
        "community": built.communities + 1,
        "component": built.network.components + 1,
        "degree": built.network.degree,
    }
    if len(built.ids) > len(built.network):
        found["members"] = built.sizes
    if labels is not None:
        own = {labels.name: labels.texts if labels.texts is not None else labels.values, **labels.details}
        found |= dict(zip(column_names(own, found), own.values(), strict=True))
    return found


def network_file(
    source: PathLike | None,
    output: PathLike | None,
    config: NetworkConfig,
    *,
    model: PathLike | None = None,
    sequences: PathLike | None = None,
    labels: PathLike | None = None,
    nodes: PathLike | None = None,
    page: PathLike | None = None,
    format: str | None = None,
) -> Built:
    """Build a network and write its files; see `build_network` and `write_network`.

    Args:
        source, config, model, sequences: see `build_network`.
        output, format: see `write_network`.
        labels: labels of the proteins, for GraphML and the page.
        nodes: a table of the nodes to write.
        page: an HTML page to write, besides the output.
    """
    parsed = parse_network_format(format, output)
    for extra, what, known in ((nodes, "a table of nodes", None), (page, "a page", (".html", ".htm"))):
        if extra is not None and known is not None and suffix_of(extra) not in known:
            raise UsageError(f"{extra}: {what} is an HTML file", fix="use the suffix .html")
        if extra is not None and known is None:
            format_of(extra)
    if config.column is not None and labels is None:
        raise UsageError("--column names a label column, but no labels are given", fix="give --labels TABLE")
    pages = parsed == "html" or page is not None
    if config.title is not None and not pages:
        raise UsageError("--title is that of a page, but none is written", fix="add --page FILE.html, or leave it out")
    if labels is not None and not pages and parsed != "graphml":
        raise UsageError(
            "--labels are written to GraphML and pages only, but neither is written",
            fix="use -o FILE.graphml or --page FILE.html, or leave --labels out",
        )
    if pages:
        check_igraph("the page")
    built = build_network(source, config, model=model, sequences=sequences)
    known_labels = None
    if labels is not None:
        known_labels = read_point_labels(labels, built.network.ids, config.column, config.column_options)
    write_network(built, output, parsed, labels=known_labels, config=config, title=config.title)
    parameters = {**config.to_parameters(), "source": None if source is None else str(source), "communities": built.method}
    write_sidecar(output, "network", parameters, config.seed)
    if page is not None:
        write_network(built, page, "html", labels=known_labels, config=config, title=config.title)
        write_sidecar(page, "network", parameters, config.seed)
    if nodes is not None:
        write_table(built.nodes(), nodes, nodes_schema())
        write_sidecar(nodes, "network", parameters, config.seed)
    return built
