"""How the embeddings fill their space: alignment of relatives, uniformity, effective rank, anisotropy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.probe.dataset import HIERARCHY, Dataset
from phylocli.probe.embeddings import Embedding
from phylocli.probe.statistics import Figure, mean_figure
from phylocli.probe.tasks._contract import Measurement, Metric, subsample

FloatArray = npt.NDArray[np.float64]

TITLE = "Geometry"
METRICS = {
    "alignment": Metric(
        "Mean squared distance between relatives on the unit sphere: 0 where relatives coincide, 2 where they are "
        "orthogonal. Lower is closer, but a collapsed embedding has 0 too: read it with uniformity "
        "(Wang & Isola 2020, arXiv:2005.10242).",
        None,
    ),
    "uniformity": Metric(
        "Logarithm of the mean of exp(−2 · squared distance) over all pairs on the unit sphere: 0 where all coincide, "
        "near −4 where they are spread evenly in many dimensions (Wang & Isola 2020).",
        None,
    ),
    "effective rank": Metric(
        "Exponential of the entropy of the covariance's spectrum: how many dimensions are really used, at most the "
        "dimension of the embedding (Roy & Vetterli 2007, EUSIPCO).",
        None,
    ),
    "anisotropy": Metric(
        "Mean cosine of two different sequences: 0 where directions are used evenly, 1 where all point one way.", None
    ),
}
MAX_ITEMS = 2_000


def levels(data: Dataset) -> list[str]:
    """Return the finest level of the hierarchy, else the first column of classes, else none."""
    known = [c for c in HIERARCHY if c in data.classes] or list(data.classes)
    return known[:1]


def effective_rank(vectors: FloatArray) -> float:
    """Return exp(−Σ p log p) with p the eigenvalues of the covariance over their sum; 0 where all vectors are one.

    Args:
        vectors: shape (n, D).
    """
    centred = vectors - vectors.mean(axis=0)
    gram = centred.T @ centred if vectors.shape[1] <= len(vectors) else centred @ centred.T
    spectrum = np.linalg.eigvalsh(gram)
    spectrum = spectrum[spectrum > spectrum.max(initial=0) * 1e-10]
    if not len(spectrum):
        return 0.0
    share = spectrum / spectrum.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def measure(data: Dataset, embedding: Embedding, level: str, seed: int) -> Measurement:
    """Measure the geometry of at most `MAX_ITEMS` items, drawn at random."""
    rows = subsample(data.evaluated_rows(), MAX_ITEMS, seed)
    x = embedding.unit_rows()[rows].astype(np.float64)
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
        # Pairs of one item with its own copy in the resample are left out: they say nothing of two sequences.
        weight = np.bincount(index, minlength=n).astype(np.float64)
        squares = weight * weight
        pairs = weight.sum() ** 2 - squares.sum()
        return float((weight @ table @ weight - squares @ np.diag(table)) / pairs) if pairs > 0 else float("nan")

    def uniformity(index: npt.NDArray[np.int64]) -> float:
        return float(np.log(over_pairs(kernel, index)))

    raw = embedding.vectors[rows].astype(np.float64)
    everything = np.arange(n)
    figures = [
        mean_figure("alignment", aligned, rows[paired]),
        Figure("uniformity", uniformity(everything), n, statistic=uniformity, rows=rows, interval="normal", replicates=400),
        Figure(
            "effective rank",
            effective_rank(raw),
            n,
            statistic=lambda index: effective_rank(raw[index]),
            rows=rows,
            interval="normal",
            replicates=60,
            bounds=(1.0, np.inf),
        ),
        Figure(
            "anisotropy",
            over_pairs(cosine, everything),
            n,
            statistic=lambda index: over_pairs(cosine, index),
            rows=rows,
            interval="normal",
            bounds=(-1.0, 1.0),
            replicates=400,
        ),
    ]
    return Measurement(figures, note=f"{n:,} sequences; relatives share a {level}")
