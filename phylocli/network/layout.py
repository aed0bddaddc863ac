"""Positions of the nodes of a network: a force-directed layout of each component, and components packed by size."""

from __future__ import annotations

import numpy as np

from phylocli.core import console
from phylocli.formats.networks import Floats, IntArray, Network
from phylocli.network.communities import igraph_of

ITERATIONS = 300
"""Iterations of the force-directed layout."""

MANY = 1_000
"""Nodes from which on a component is laid out from its communities."""

GAP = 0.12
"""Space around a component, as a fraction of the distance of nodes that is given to each."""


def layout(network: Network, communities: IntArray, seed: int = 0) -> Floats:
    """Return coordinates in [0, 1], (n, 2): the largest components at the top, nodes without edges at the bottom.

    Each component is laid out by forces (Fruchterman & Reingold 1991, doi:10.1002/spe.4380211102), on a grid if it is large;
    then its nodes begin near their community, and communities are laid out first. The area of a component is proportional
    to its number of nodes.

    Raises:
        MissingDependencyError: igraph is not installed.
    """
    found = np.zeros((len(network), 2))
    members = np.argsort(network.components, kind="stable")
    sizes = np.bincount(network.components)
    starts = np.r_[0, np.cumsum(sizes)]
    component_of_edge = network.components[network.ends[:, 0]] if len(network.ends) else np.zeros(0, dtype=np.int64)
    order = np.argsort(component_of_edge, kind="stable")
    edges = np.searchsorted(component_of_edge[order], np.arange(len(sizes) + 1))
    place = np.empty(len(network), dtype=np.int64)
    with console.progress_task("placing nodes", len(network), unit="nodes") as bar:
        for component, size in enumerate(sizes.tolist()):
            nodes = members[starts[component] : starts[component + 1]]
            place[nodes] = np.arange(size)
            mine = order[edges[component] : edges[component + 1]]
            if size > 1:
                points = _forces(place[network.ends[mine]], size, network.weights[mine], communities[nodes], seed)
                found[nodes] = _scaled(points, np.sqrt(size))
            bar.advance(size)
    return _packed(found, network.components, sizes)


def _forces(ends: IntArray, size: int, weights: Floats, groups: IntArray, seed: int) -> Floats:
    """Return the layout of a component, (size, 2)."""
    if size == 2:
        return np.array([[-0.5, 0.0], [0.5, 0.0]])
    random = np.random.default_rng(seed)
    start = random.normal(size=(size, 2)) * np.sqrt(size) / 2
    codes = np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    if size > MANY and count > 1:
        joined = np.sort(codes[ends], axis=1)
        joined, of = np.unique(joined[joined[:, 0] != joined[:, 1]], axis=0, return_counts=True)
        spread = np.sqrt(np.bincount(codes))
        with igraph_of(joined, count, seed, "the layout") as graph:
            outline = np.array(graph.layout_fruchterman_reingold(niter=500, weights=np.log1p(of).tolist(), grid=False))
        centres = _scaled(outline, 1.6 * np.sqrt(size))
        start = centres[codes] + random.normal(size=(size, 2)) * spread[codes, None] / 2
    with igraph_of(ends, size, seed, "the layout") as graph:
        found = graph.layout_fruchterman_reingold(
            niter=ITERATIONS,
            seed=start.tolist(),
            weights=(weights / (weights.max() or 1) + 0.01).tolist(),
            grid=size > MANY,
            start_temp=np.sqrt(size) / (30 if size > MANY else 10),
        )
    return _without_outliers(np.array(found.coords))


def _without_outliers(points: Floats) -> Floats:
    """Return points of which the outer tenth is drawn in: beyond the others, distances grow logarithmically."""
    points = points - np.median(points, axis=0)
    radius = np.linalg.norm(points, axis=1)
    inner = float(np.quantile(radius, 0.9))
    if len(points) <= MANY or inner == 0:
        return points
    beyond = np.maximum(radius / inner, 1)
    return np.asarray(points * ((1 + 0.5 * np.log(beyond)) / beyond)[:, None])


def _scaled(points: Floats, side: float) -> Floats:
    """Return points centred at 0, in a square of a side; its longer direction is horizontal."""
    points = points - points.mean(axis=0)
    if len(points) > 2:
        points = points @ np.linalg.svd(points, full_matrices=False)[2].T
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: Floats = (points - (low + high) / 2) * side / (float((high - low).max()) or 1.0)
    return scaled


def _packed(points: Floats, component: IntArray, sizes: IntArray) -> Floats:
    """Return coordinates in [0, 1]: components, each centred at 0, on shelves, the largest first."""
    low, high = (np.zeros((len(sizes), 2)) for _ in range(2))
    np.minimum.at(low, component, points)
    np.maximum.at(high, component, points)
    boxes = high - low + 2 * GAP + 0.8
    width = max(float(boxes[:, 0].max()), float(np.sqrt(boxes.prod(axis=1).sum())) * 1.15)
    corners = np.empty((len(sizes), 2))
    left = top = shelf = 0.0
    for number, (wide, tall) in enumerate(boxes.tolist()):
        if left and left + wide > width:
            left, top, shelf = 0.0, top + shelf, 0.0
        corners[number] = left, top
        left, shelf = left + wide, max(shelf, tall)
    placed = corners[component] + boxes[component] / 2 + points - (low + high)[component] / 2
    placed[:, 1] = -placed[:, 1]  # the first shelf at the top
    placed -= placed.min(axis=0)
    span = float(placed.max()) or 1.0
    return np.asarray(placed / span + (1 - placed.max(axis=0) / span) / 2)
