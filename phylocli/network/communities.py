"""Communities of a network by the Leiden algorithm, and groups with representative nodes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from phylocli.core.errors import MissingDependencyError
from phylocli.formats.networks import Floats, IntArray, Network, by_size


def has_igraph() -> bool:
    """Return whether igraph is installed."""
    return find_spec("igraph") is not None


def check_igraph(needed_for: str) -> None:
    """Raise a MissingDependencyError if igraph is not installed."""
    if not has_igraph():
        raise MissingDependencyError(f"{needed_for} needs igraph, which is not installed", fix="pip install '.[network]'")


@contextmanager
def igraph_of(ends: IntArray, nodes: int, seed: int, needed_for: str) -> Iterator[Any]:
    """Yield a graph of igraph, whose random numbers are those of the seed.

    Raises:
        MissingDependencyError: igraph is not installed.
    """
    check_igraph(needed_for)
    import igraph

    igraph.set_random_number_generator(random.Random(seed))
    try:
        yield igraph.Graph(n=nodes, edges=ends)
    finally:
        igraph.set_random_number_generator(random)


def leiden(network: Network, resolution: float = 1.0, seed: int = 0) -> IntArray:
    """Return the community of each node, (n,), numbered from 0 by decreasing size.

    Modularity (Newman & Girvan 2004, doi:10.1103/PhysRevE.69.026113), weighted by `network.weights`, is maximised by the
    Leiden algorithm (Traag et al. 2019, doi:10.1038/s41598-019-41695-z), until a round changes nothing; communities are
    connected. A node without edges is a community of its own.

    Raises:
        MissingDependencyError: igraph is not installed.
    """
    with igraph_of(network.ends, len(network), seed, "the Leiden algorithm") as graph:
        found = graph.community_leiden(
            objective_function="modularity",
            weights=network.weights.tolist(),
            resolution=resolution,
            n_iterations=-1,
        )
    return by_size(np.array(found.membership, dtype=np.int64))


def communities(network: Network, method: str, resolution: float | None, seed: int) -> tuple[IntArray, str]:
    """Return the community of each node, (n,), and the name of the method: `leiden` or `components`.

    Args:
        network: the network.
        method: `leiden`, `components`, or `auto`: `leiden` if igraph is installed.
        resolution: see `leiden`; None: 1.
        seed: see `leiden`.

    Raises:
        MissingDependencyError: Leiden or a resolution is asked for, but igraph is not installed.
    """
    if method == "leiden" or resolution is not None or (method == "auto" and has_igraph()):
        return leiden(network, 1.0 if resolution is None else resolution, seed), "leiden"
    return network.components, "components"


def cover(network: Network, similarity: Floats, least: float) -> IntArray:
    """Return the representative of each node, (n,), by greedy set cover of the edges of at least a similarity.

    Repeatedly, the uncovered node with the most similar nodes becomes a representative, and covers those of them that are
    uncovered (Steinegger & Söding 2018, doi:10.1038/s41467-018-04964-5). The order is that of the numbers of similar nodes
    at the start; ties are broken by id.

    Args:
        network: the network.
        similarity: of its edges, (m,).
        least: the smallest similarity of a node and its representative.
    """
    near = network.where(similarity >= least)
    both = np.concatenate([near.ends, near.ends[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    starts = np.searchsorted(both[:, 0], np.arange(len(network) + 1))
    chosen = np.full(len(network), -1, dtype=np.int64)
    for node in np.lexsort((np.array(network.ids), -near.degree)).tolist():
        if chosen[node] < 0:
            others = both[starts[node] : starts[node + 1], 1]
            chosen[others[chosen[others] < 0]] = node
            chosen[node] = node
    return chosen
