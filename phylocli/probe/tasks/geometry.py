"""Geometry of the embedding space: alignment, uniformity, effective rank, intrinsic dimension, anisotropy, hubness."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.core.words import counted
from phylocli.probe.inputs.dataset import HIERARCHY, Dataset
from phylocli.probe.inputs.embedding import Embedding
from phylocli.probe.tasks._contract import Measurement, Metric
from phylocli.statistics import effective_rank
from phylocli.statistics.bootstrap import Estimate, mean_estimate
from phylocli.statistics.sampling import subsample

FloatArray = npt.NDArray[np.float64]

ORDER = 120
TITLE = "Geometry"
METRICS = {
    "alignment": Metric(
        "Mean squared distance between homologs on the unit sphere: 0 if homologs coincide, 2 if they are "
        "orthogonal. It is also 0 for a collapsed embedding, so compare it together with uniformity "
        "(Wang & Isola 2020, arXiv:2005.10242).",
        None,
    ),
    "uniformity": Metric(
        "Logarithm of the mean of exp(−2 · squared distance) over all pairs on the unit sphere: 0 if all coincide, "
        "near −4 if they are spread evenly in many dimensions (Wang & Isola 2020).",
        None,
    ),
    "effective rank": Metric(
        "Exponential of the entropy of the normalised singular values of the centred embeddings: the number of dimensions "
        "used, at most the dimension of the embedding (Roy & Vetterli 2007, EUSIPCO).",
        None,
    ),
    "intrinsic dimension": Metric(
        "Dimension of the manifold of the embeddings, from the ratio of the distances to the second and the first neighbour "
        "(TwoNN; Facco et al. 2017, doi:10.1038/s41598-017-11873-y), on the unit sphere. A curved manifold of low dimension "
        "may have a high effective rank.",
        None,
    ),
    "anisotropy": Metric(
        "Mean cosine of two different sequences: 0 if directions are used evenly, 1 if all vectors are parallel.", None
    ),
    "hubness": Metric(
        "Skewness of how often a sequence is among the ten nearest neighbours of others: 0 if all are equal, large "
        "if a few hubs are neighbours of most sequences and degrade retrieval (Radovanović et al. 2010, JMLR 11:2487).",
        None,
    ),
}
MAX_ITEMS = 2_000
NEIGHBOURS = 10
SAME = 1e-12
"""Squared distance on the unit sphere below which two single-precision vectors are considered equal."""


def levels(data: Dataset) -> list[str]:
    """Return the finest level of the hierarchy, or the first column of classes if there is no hierarchy."""
    known = [c for c in HIERARCHY if c in data.classes] or list(data.classes)
    return known[:1]


def log_ratios(squared: FloatArray) -> FloatArray:
    """Return log(r₂/r₁) for the distances r₁ and r₂ of each item to its two nearest neighbours, shape (items,).

    Items with an identical copy, for which r₁ is 0, are excluded.

    Args:
        squared: squared distances, shape (n, n), n ≥ 3, infinite on the diagonal.
    """
    near = np.partition(squared, 1, axis=1)[:, :2]
    near = near[near[:, 0] > SAME]
    return np.asarray(np.log(near[:, 1] / near[:, 0]) / 2, dtype=np.float64)


def two_nn(ratios: FloatArray) -> float:
    """Return the intrinsic dimension (m − 1)/Σ log(r₂/r₁) of m items; NaN if undefined.

    This is the bias-corrected maximum-likelihood estimate of TwoNN.
    """
    total = float(ratios.sum())
    return (len(ratios) - 1) / total if len(ratios) > 1 and total > 0 else float("nan")


def neighbour_counts(squared: FloatArray, k: int) -> FloatArray:
    """Return how often each item is among the k nearest neighbours of other items, shape (n,).

    Args:
        squared: see `log_ratios`.
        k: number of neighbours.
    """
    k = min(k, len(squared) - 1)
    near = np.argpartition(squared, k - 1, axis=1)[:, :k]
    return np.bincount(near.ravel(), minlength=len(squared)).astype(np.float64)


def skewness(values: FloatArray) -> float:
    """Return the third standardised moment, 0 if all values are equal."""
    gap = values - values.mean()
    spread = float(np.mean(gap**2))
    return float(np.mean(gap**3)) / spread**1.5 if spread > 0 else 0.0


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Compute the metrics for at most `MAX_ITEMS` randomly sampled items."""
    rows = subsample(data.evaluated_rows(), MAX_ITEMS, seed)
    raw = embedding.vectors[rows].astype(np.float64)
    x = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    codes = data.classes[level][rows]
    cosine = np.clip(x @ x.T, -1.0, 1.0)
    squared = 2.0 - 2.0 * cosine
    kernel = np.exp(-2.0 * squared)
    n = len(rows)

    same = (codes[:, None] == codes[None, :]) & (codes >= 0)[:, None] & ~np.eye(n, dtype=bool)
    partners = same.sum(axis=1)
    paired = partners > 0
    aligned = (squared * same).sum(axis=1)[paired] / partners[paired]

    def over_pairs(table: FloatArray, index: npt.NDArray[np.int64]) -> float:
        # Exclude pairs of an item with its duplicates in the resample, which are not pairs of different sequences.
        weight = np.bincount(index, minlength=n).astype(np.float64)
        squares = weight * weight
        pairs = weight.sum() ** 2 - squares.sum()
        return float((weight @ table @ weight - squares @ np.diag(table)) / pairs) if pairs > 0 else float("nan")

    def uniformity(index: npt.NDArray[np.int64]) -> float:
        return float(np.log(over_pairs(kernel, index)))

    apart = squared + np.diag(np.full(n, np.inf))
    ratios, counts = (log_ratios(apart), neighbour_counts(apart, NEIGHBOURS)) if n > 2 else (np.zeros(0), np.zeros(n))
    everything = np.arange(n)
    estimates = [
        mean_estimate("alignment", aligned, rows[paired]),
        Estimate(
            "uniformity", uniformity(everything), n, statistic=uniformity, rows=rows, interval="normal", replicates=400
        ),
        Estimate(
            "effective rank",
            effective_rank(raw),
            n,
            statistic=lambda index: effective_rank(raw[index]),
            rows=rows,
            interval="normal",
            replicates=60,
            bounds=(1.0, np.inf),
        ),
        Estimate(
            "anisotropy",
            over_pairs(cosine, everything),
            n,
            statistic=lambda index: over_pairs(cosine, index),
            rows=rows,
            interval="normal",
            bounds=(-1.0, 1.0),
            replicates=400,
        ),
        Estimate(
            "hubness", skewness(counts), n, statistic=lambda index: skewness(counts[index]), rows=rows, interval="normal"
        ),
    ]
    dimension = two_nn(ratios)
    if np.isfinite(dimension):
        estimates.append(
            Estimate(
                "intrinsic dimension",
                dimension,
                len(ratios),
                statistic=lambda index: two_nn(ratios[index]),
                interval="normal",
                bounds=(0.0, np.inf),
            )
        )
    return Measurement(estimates, note=f"{counted(n, 'sequence')}; homologs share a {level}")
