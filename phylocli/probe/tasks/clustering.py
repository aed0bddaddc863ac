"""Agreement of k-means clusters of the embeddings with known classes."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import HIERARCHY, Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics.bootstrap import Estimate, mean_estimate
from phylocli.statistics.sampling import subsample

IntArray = npt.NDArray[np.int64]

ORDER = 110
TITLE = "Clustering"
METRICS = {
    "V-measure": Metric(
        "Harmonic mean of homogeneity and completeness of k-means clusters (k: the number of classes) against the classes; "
        "1 is perfect (Rosenberg & Hirschberg 2007, D07-1043). With many small classes random clusters score well above 0: "
        "compare with the chance level."
    ),
    "adjusted Rand index": Metric(
        "Agreement of pairs between clusters and classes, corrected so that random clusters score 0; 1 is perfect (Hubert & "
        "Arabie 1985, doi:10.1007/BF01908075)."
    ),
    "silhouette": Metric(
        "Mean silhouette of the classes by cosine distance: from −1 to 1, above 0 if sequences are closer to their own "
        "class than to the nearest other one (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7)."
    ),
}
MAX_ITEMS = 4_000
MIN_MEMBERS = 3
MAX_CLASSES = 300


def _chosen(data: Dataset, level: str) -> IntArray:
    """Return the rows of the `MAX_CLASSES` largest classes that have at least `MIN_MEMBERS` members."""
    rows = data.evaluated_rows()
    codes = data.classes[level][rows]
    counts = np.bincount(codes[codes >= 0], minlength=1)
    order = np.argsort(-counts, kind="stable")[:MAX_CLASSES]
    keep = order[counts[order] >= MIN_MEMBERS]
    return rows[np.isin(codes, keep)]


def levels(data: Dataset) -> list[str]:
    """Return the columns (of the hierarchy, if there is one) with at least two classes of three members."""
    known = [c for c in HIERARCHY if c in data.classes] or list(data.classes)
    return [c for c in known if len(np.unique(data.classes[c][_chosen(data, c)])) >= 2]


def _contingency(a: IntArray, b: IntArray) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the non-empty cells of the contingency table of two labellings, and its margins."""
    width = int(b.max()) + 1
    cells = np.bincount(a * width + b)
    return cells[cells > 0].astype(np.float64), np.bincount(a).astype(np.float64), np.bincount(b).astype(np.float64)


def v_measure(classes: IntArray, clusters: IntArray) -> float:
    """Return the V-measure of two labellings by codes from 0; faster than scikit-learn's for thousands of resamples."""

    def entropy(counts: npt.NDArray[np.float64]) -> float:
        frequency = counts[counts > 0] / counts.sum()
        return float(-(frequency * np.log(frequency)).sum())

    cells, by_class, by_cluster = _contingency(classes, clusters)
    h_class, h_cluster, joint = entropy(by_class), entropy(by_cluster), entropy(cells)
    shared = h_class + h_cluster - joint
    return 2 * shared / (h_class + h_cluster) if h_class + h_cluster > 0 else 1.0


def adjusted_rand(classes: IntArray, clusters: IntArray) -> float:
    """Return the adjusted Rand index of two labellings by codes from 0."""
    cells, by_class, by_cluster = _contingency(classes, clusters)

    def pairs(counts: npt.NDArray[np.float64]) -> float:
        return float((counts * (counts - 1)).sum() / 2)

    together, of_class, of_cluster = pairs(cells), pairs(by_class), pairs(by_cluster)
    total = pairs(np.array([by_class.sum()]))
    expected = of_class * of_cluster / total if total else 0.0
    best = (of_class + of_cluster) / 2
    return 1.0 if best == expected else (together - expected) / (best - expected)


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Cluster the unit vectors with k-means and compare with the classes."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_rand_score, silhouette_samples, v_measure_score

    rows = _chosen(data, level)
    if len(rows) > MAX_ITEMS:
        rows = subsample(rows, MAX_ITEMS, seed)
    x = embedding.unit_rows()[rows]
    names, classes = np.unique(data.classes[level][rows], return_inverse=True)
    classes = classes.astype(np.int64)
    k = len(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # raised if there are fewer distinct points than classes
        clusters = KMeans(k, n_init=1 if k > 50 else 4, random_state=seed).fit_predict(x).astype(np.int64)
    shuffled = np.random.default_rng(seed).permutation(clusters)
    silhouettes = silhouette_samples(x, classes, metric="cosine")
    estimates = [
        Estimate(
            "V-measure",
            float(v_measure_score(classes, clusters)),
            len(rows),
            statistic=lambda index: v_measure(classes[index], clusters[index]),
            rows=rows,
            chance=float(v_measure_score(classes, shuffled)),
            interval="normal",
            bounds=(0.0, 1.0),
        ),
        Estimate(
            "adjusted Rand index",
            float(adjusted_rand_score(classes, clusters)),
            len(rows),
            statistic=lambda index: adjusted_rand(classes[index], clusters[index]),
            rows=rows,
            chance=0.0,
            interval="normal",
            bounds=(-1.0, 1.0),
        ),
        mean_estimate("silhouette", silhouettes, rows, chance=None),
    ]
    return Measurement(
        estimates, note=f"{counted(len(rows), 'sequence')} of {counted(k, 'class')} with at least {MIN_MEMBERS} members"
    )
