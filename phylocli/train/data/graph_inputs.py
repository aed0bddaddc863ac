"""Graphs to train on: similarity networks and family trees, with the features of their nodes."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phylocli.config.train import TrainConfig
from phylocli.core.errors import BadInputError
from phylocli.core.words import counted
from phylocli.formats import read_families
from phylocli.formats.embeddings import EmbeddingTable, read_embeddings
from phylocli.formats.embeddings.table import FloatArray
from phylocli.formats.input_formats import EMPTY, STOCKHOLM, sniff_file
from phylocli.formats.networks import is_network, read_network
from phylocli.formats.sequences.fasta import shorten
from phylocli.formats.streams import PathLike, at_rest, display_name
from phylocli.formats.tables import read_table, require_columns
from phylocli.formats.tree import Tree
from phylocli.graphs import Graphs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphInputs:
    """Graphs with the names of what is embedded.

    Attributes:
        graphs: the graphs, in CPU memory.
        nodes: name of each node, (N,); empty for inner nodes of trees.
        names: name of each graph, (G,): of the file of a network, or the label of a family.
    """

    graphs: Graphs
    nodes: list[str]
    names: list[str]


def read_graphs(inputs: tuple[str, ...], features: str) -> GraphInputs:
    """Read networks (tables of edges or hits) and families with trees.

    Nodes of a network are all ids of the table of features if there is one network, so that proteins without edges are
    nodes, too. An inner node of a tree has the mean of the features of its children. Without a table of features, those of
    trees are `tree_features`.

    Args:
        inputs: the files.
        features: a table of embeddings; empty: none.

    Raises:
        BadInputError: a file cannot be read, a family has no tree, or a node no features.
    """
    table = read_embeddings(features, normalised=True) if features else None
    parts: list[FloatArray] = []
    ends: list[np.ndarray] = []
    nodes: list[str] = []
    sizes: list[int] = []
    names: list[str] = []
    for source in inputs:
        with at_rest(source) as path:
            if not Path(path).is_dir() and is_network(path):
                ids, joined, values = _network(path, source, table, alone=len(inputs) == 1)
                found = [(Path(display_name(source)).name.split(".")[0], ids, joined, values)]
            else:
                found = []
                _check_families(path, source)
                for family in read_families(path):
                    if family.tree is None:
                        raise BadInputError(f"{family.label} has no tree", fix="run 'phylocli tree' first")
                    found.append((family.label, *_tree(family.tree, family.label, table)))
        for name, ids, joined, values in found:
            ends.append(joined + len(nodes))
            names.append(name)
            nodes += ids
            parts.append(values)
            sizes.append(len(ids))
    if not nodes:
        raise BadInputError("the inputs contain no graphs", fix="give tables of edges, or families with trees")
    graph = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    both = torch.from_numpy(np.concatenate(ends).astype(np.int64))
    graphs = Graphs(torch.from_numpy(np.concatenate(parts).astype(np.float32)), both, graph, len(sizes))
    logger.info(f"{counted(len(sizes), 'graph')}, {counted(len(nodes), 'node')}, {counted(len(both), 'edge')}")
    return GraphInputs(graphs, nodes, names)


def _check_families(path: PathLike, source: str) -> None:
    """Raise a BadInputError if a file that is not a network has no families either: it is named as the lacking graph."""
    kind = None if Path(path).is_dir() else sniff_file(path)
    if kind is not None and kind not in (STOCKHOLM, EMPTY) and kind.read is None:
        raise BadInputError(
            f"{display_name(source)} looks like {kind.phrase}, not a table of edges or families with trees",
            fix="give a table with the columns source and target, or query and target, or the output of 'phylocli tree'",
        )


def _network(
    path: PathLike, source: str, table: EmbeddingTable | None, *, alone: bool
) -> tuple[list[str], np.ndarray, FloatArray]:
    """Return the ids of the nodes of a network, its edges and the features of its nodes."""
    if table is None:
        raise BadInputError(f"{source} is a network, whose nodes have no features", fix="add --features TABLE")
    network = read_network(path)
    place = {name: row for row, name in enumerate(table.ids)}
    missing = [name for name in network.ids if name not in place]
    if missing:
        raise BadInputError(
            f"{counted(len(missing), 'node')} of {source} are not in {table.name}, first {shorten(missing[0])!r}",
            fix="give the embeddings that the network was made from",
        )
    rows = np.array([place[name] for name in network.ids], dtype=np.int64)
    if alone:
        return table.ids, rows[network.ends], table.numpy()
    return network.ids, network.ends, table.numpy()[rows]


def _tree(tree: Tree, label: str, table: EmbeddingTable | None) -> tuple[list[str], np.ndarray, FloatArray]:
    """Return the names of the nodes of a tree (inner nodes: empty), its edges and the features of its nodes."""
    tip = tree.is_tip
    names = [name if is_tip else "" for name, is_tip in zip(tree.names, tip, strict=True)]
    joined = np.stack([tree.parent[1:], np.arange(1, len(tree))], axis=1)
    if table is None:
        return names, joined, tree_features(tree)
    place = {name: row for row, name in enumerate(table.ids)}
    missing = [name for name in names if name and name not in place]
    if missing:
        raise BadInputError(
            f"{counted(len(missing), 'tip')} of {label} are not in {table.name}, first {shorten(missing[0])!r}",
            fix="give embeddings of all members, with the same ids",
        )
    values = np.zeros((len(tree), table.dimension), dtype=np.float64)
    values[tip] = table.numpy()[[place[name] for name in names if name]]
    counts = tip.astype(np.float64)
    for node in range(len(tree) - 1, 0, -1):  # in preorder, so children come after their parent
        if not tip[node]:
            values[node] /= counts[node]
        above = tree.parent[node]
        values[above] += values[node]
        counts[above] += 1
    if not tip[0]:
        values[0] /= counts[0]
    return names, joined, values.astype(np.float32)


def tree_features(tree: Tree) -> FloatArray:
    """Return features of the nodes of a tree, (nodes, 5): whether it is a tip, the logarithms of the branch length above it
    (plus 0.01), of its distance from the root (plus 0.01) and of the number of tips below it, and its number of children."""
    tip = tree.is_tip
    below = tip.astype(np.float64)
    children = np.zeros(len(tree))
    for node in range(len(tree) - 1, 0, -1):
        below[tree.parent[node]] += below[node]
        children[tree.parent[node]] += 1
    length = np.nan_to_num(tree.length, nan=0.0).clip(min=0)
    logs = [np.log(values + 0.01) for values in (length, tree.root_distances().clip(min=0))]
    found: FloatArray = np.stack([tip, *logs, np.log(below), children], axis=1).astype(np.float32)
    return found


def read_graph_labels(config: TrainConfig, names: list[str]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return the class of each graph, (G,), -1 where unknown, and the names of the classes; None without labels.

    Raises:
        BadInputError: the table has no such columns, no class, or none of the graphs.
    """
    given = config.graphs
    if not given.labels:
        return None, ()
    frame = read_table(given.labels, typed=False)
    require_columns(frame, ["id", given.column], given.labels, "a table of labels")
    known = {str(key): str(value) for key, value in frame.select("id", given.column).iter_rows() if key and value}
    classes = sorted({known[name] for name in names if name in known})
    if len(classes) < 2:
        raise BadInputError(
            f"{given.labels} has {counted(len(classes), 'class')} of the graphs",
            why=f"graphs are called like {shorten(names[0])!r}",
            fix="give labels of at least two classes, by the names of the graphs",
        )
    code = {name: place for place, name in enumerate(classes)}
    return torch.tensor([code[known[name]] if name in known else -1 for name in names]), tuple(classes)
