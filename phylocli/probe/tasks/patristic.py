"""Correlation of embedding distances with patristic distances within families."""

from __future__ import annotations

import logging

import numpy as np

from phylocli.core.words import counted
from phylocli.pairs import Patristic
from phylocli.probe.inputs.dataset import Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics.bootstrap import mean_estimate
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

ORDER = 90
TITLE = "Patristic distances"
METRICS = {
    "patristic correlation": Metric(
        "Spearman's rank correlation of the cosine distances of members of a family with their patristic distances (path "
        "lengths in the family's tree, in expected substitutions per site), averaged over families: 1 is the same order, "
        "0 is random. The bootstrap resamples families."
    ),
}
MIN_MEMBERS = 5
MAX_MEMBERS = 500
CURVE_POINTS = 600


def levels(data: Dataset) -> list[str]:
    """Return `family` if at least two trees have five members with embeddings."""
    known = set(_names(data))
    usable = sum(len(known.intersection(f.ids)) >= MIN_MEMBERS for f in data.trees)
    if len(data.trees) > 1 and usable < 2:
        logger.warning(
            f"{usable} of {len(data.trees)} trees have at least {MIN_MEMBERS} members with embeddings; two are needed"
        )
    return ["family"] if usable >= 2 else []


def _names(data: Dataset) -> list[str]:
    return [data.ids[row] for row in data.evaluated_rows()]


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Compute the correlation in each family, with at most `MAX_MEMBERS` randomly sampled members."""
    from scipy.stats import spearmanr

    place = {data.ids[row]: int(row) for row in data.evaluated_rows()}
    x = embedding.unit_rows()
    found: list[float] = []
    clouds: list[np.ndarray] = []
    for family in data.trees:
        tree = family.require_tree()
        tips = tree.tips()
        order = [(tree.names[node], int(node)) for node in tips if tree.names[node] in place]
        if len(order) < MIN_MEMBERS:
            continue
        keep = subsample(np.arange(len(order)), MAX_MEMBERS, seed)
        names = [order[i][0] for i in keep]
        position = {int(node): i for i, node in enumerate(tips)}
        at = np.array([position[order[i][1]] for i in keep], dtype=np.int64)
        a, b = np.triu_indices(len(at), 1)
        patristic = np.asarray(Patristic(tree).distance(at[a], at[b]), dtype=np.float64)
        rows = np.array([place[name] for name in names])
        cosine = 1.0 - np.einsum("ij,ij->i", x[rows[a]], x[rows[b]]).astype(np.float64)
        if np.ptp(patristic) == 0:
            continue
        found.append(float(spearmanr(patristic, cosine).statistic) if np.ptp(cosine) > 0 else 0.0)
        clouds.append(np.stack([patristic, cosine]))
    every = np.concatenate(clouds, axis=1) if clouds else np.zeros((2, 0))
    shown = subsample(np.arange(every.shape[1]), CURVE_POINTS, seed)
    return Measurement(
        [mean_estimate("patristic correlation", found, chance=0.0)],
        {"patristic scatter": (every[0, shown].tolist(), every[1, shown].tolist())},
        f"{counted(len(found), 'family')}, {every.shape[1]:,} pairs",
    )
