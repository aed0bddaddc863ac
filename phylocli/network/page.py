"""The HTML page of a network: that of a map, with edges."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phylocli.config.network import NetworkConfig
from phylocli.core.words import counted
from phylocli.formats.networks import Floats, IntArray
from phylocli.probe.map.labels import PointLabels
from phylocli.probe.map.page import MapPage, packed, render_map

if TYPE_CHECKING:
    from phylocli.network.pipeline import Built

logger = logging.getLogger(__name__)

MOST_EDGES = 500_000
"""Edges of a page; of more, the strongest of each node are drawn first."""

COMMUNITIES = {"leiden": "community", "components": "component"}


@dataclass(frozen=True)
class NetworkPage(MapPage):
    """The content of the page of a network.

    Attributes:
        ends: nodes of the edges that are drawn, (m, 2), by decreasing weight.
        weights: their weights, (m,).
        about: what the network is, for the line below the title.
    """

    ends: IntArray
    weights: Floats
    about: str

    @property
    def caption(self) -> str:
        """The line below the title."""
        return self.about

    def more(self) -> dict[str, Any]:
        """Return the edges, as data for the script."""
        return {"edges": packed(self.ends, "u4"), "weights": packed(self.weights, "f4")}


def render_network(
    built: Built, points: Floats, labels: PointLabels | None, config: NetworkConfig, title: str | None
) -> str:
    """Return the page of a network as a self-contained HTML document; see `render_map`.

    Args:
        built: the network.
        points: coordinates of its nodes in [0, 1], (n, 2).
        labels: of its nodes; None colours them by community.
        config: its options.
        title: None: the name of the input.
    """
    network = built.network
    if labels is None:
        texts: list[str | None] = [f"{number + 1}" for number in built.communities]
        labels = PointLabels(COMMUNITIES[built.method], texts, None, {})
    else:
        groups: list[str | None] = [f"{number + 1}" for number in built.communities]
        labels = replace(labels, details={COMMUNITIES[built.method]: groups, **labels.details})
    if len(built.ids) > len(network):
        labels = replace(labels, details={**labels.details, "proteins": [f"{size:,}" for size in built.sizes]})
    drawn = _drawn(network.ends, network.weights)
    if len(drawn) < len(network.ends):
        logger.info(f"the page draws {len(drawn):,} of {len(network.ends):,} edges, the strongest of each node")
    source = Path(network.name).name or network.name
    page = NetworkPage.of(
        network.ids,
        points,
        labels,
        title=title or Path(source).stem,
        source=source,
        dimension=0,
        total=len(network),
        method="",
        seed=config.seed,
        ends=network.ends[drawn],
        weights=network.weights[drawn],
        about=_about(built, len(drawn), config, source),
    )
    return render_map(page)


def _drawn(ends: IntArray, weights: Floats) -> IntArray:
    """Return the edges of the page by decreasing weight: all, or those with the best ranks among the edges of a node."""
    if len(ends) > MOST_EDGES:
        node = ends.ravel()
        order = np.lexsort((-np.repeat(weights, 2), node))
        rank = np.empty(len(node), dtype=np.int64)
        rank[order] = np.arange(len(node)) - np.searchsorted(node[order], node[order])
        kept = np.sort(np.lexsort((-weights, rank.reshape(-1, 2).min(axis=1)))[:MOST_EDGES])
    else:
        kept = np.arange(len(ends))
    return kept[np.argsort(-weights[kept], kind="stable")]


def _about(built: Built, drawn: int, config: NetworkConfig, source: str) -> str:
    network = built.network
    limits = [
        f"E ≤ {config.max_evalue:g}" if config.max_evalue is not None else "",
        f"cosine ≥ {config.min_cosine:g}" if config.min_cosine is not None else "",
        f"bits ≥ {config.min_bits:g}" if config.min_bits is not None else "",
        f"identity ≥ {config.min_identity:g}" if config.min_identity is not None else "",
        f"the {built.neighbours} nearest of each" if built.neighbours is not None else "",
    ]
    rule = ", ".join(filter(None, limits))
    merged = f" for {counted(len(built.ids), 'protein')}" if len(built.ids) > len(network) else ""
    shown = f" ({drawn:,} drawn)" if drawn < len(network.ends) else ""
    groups = counted(int(built.communities.max(initial=-1)) + 1, COMMUNITIES[built.method])
    how = ", by the Leiden algorithm" if built.method == "leiden" else ""
    return (
        f"{counted(len(network), 'node')}{merged}, {counted(len(network.ends), 'edge')}{shown}"
        + (f" ({rule})" if rule else "")
        + f", {groups}{how}; {source}. Force-directed layout of each component; seed {config.seed}. Distances between "
        "components are not meaningful."
    )
