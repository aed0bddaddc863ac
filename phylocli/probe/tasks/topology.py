"""Comparison of neighbour-joining trees from embeddings with the families' trees."""

from __future__ import annotations

import numpy as np

from phylocli.core.words import counted
from phylocli.formats.tree import Tree
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks import patristic
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics.bootstrap import mean_estimate
from phylocli.statistics.sampling import subsample
from phylocli.tree.comparison.compare import quartet_distance, robinson_foulds
from phylocli.tree.skbio import from_skbio, import_skbio

ORDER = 100
TITLE = "Tree topology"
METRICS = {
    "quartet distance": Metric(
        "Fraction of the quartets resolved by the family's tree that the embeddings' tree (neighbour joining on cosine "
        "distances) resolves differently, averaged over families: 0 is the same topology, 2/3 is random. Quartets of large "
        "families are sampled. The bootstrap resamples families.",
        "lower",
    ),
    "Robinson–Foulds distance": Metric(
        "Fraction of the splits of both trees that are in only one of them, averaged over families: 0 is the same topology, "
        "random trees have about 1. More sensitive than quartets: a single misplaced member changes many splits.",
        "lower",
    ),
}
MIN_MEMBERS = 6
MAX_MEMBERS = 150
QUARTETS = 10_000


def levels(data: Dataset) -> list[str]:
    """Return `family` if at least two trees have enough members with embeddings."""
    known = {data.ids[row] for row in data.evaluated_rows()}
    usable = sum(len(known.intersection(family.ids)) >= MIN_MEMBERS for family in data.trees)
    return patristic.levels(data) if usable >= 2 else []


def neighbour_joining(vectors: np.ndarray, names: list[str]) -> Tree:
    """Return the neighbour-joining tree (Saitou & Nei 1987; scikit-bio) of unit vectors (n, D), by cosine distance."""
    skbio = import_skbio()
    distance = np.clip(1.0 - vectors.astype(np.float64) @ vectors.astype(np.float64).T, 0.0, None)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0.0)
    rows = [str(i) for i in range(len(names))]
    tree = from_skbio(skbio.tree.nj(skbio.DistanceMatrix(distance, rows, validate=False), neg_as_zero=True))
    tree.names = [names[int(name)] if name else "" for name in tree.names]
    return tree


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Compare the trees of each family."""
    place = {data.ids[row]: int(row) for row in data.evaluated_rows()}
    unit = embedding.unit_rows()
    quartets, splits = [], []
    for family in data.trees:
        tree = family.require_tree()
        names = [name for name in tree.tip_names() if name in place]
        if len(names) < MIN_MEMBERS:
            continue
        names = [names[i] for i in subsample(np.arange(len(names)), MAX_MEMBERS, seed)]
        reference = tree.prune(names)
        found = neighbour_joining(unit[[place[name] for name in names]], names)
        distance = quartet_distance(reference, found, most=QUARTETS, seed=seed)
        if np.isfinite(distance):
            quartets.append(distance)
            splits.append(robinson_foulds(reference, found))
    return Measurement(
        [mean_estimate("quartet distance", quartets, chance=2 / 3), mean_estimate("Robinson–Foulds distance", splits)],
        note=f"{counted(len(quartets), 'family')} of at least {MIN_MEMBERS} members",
    )
