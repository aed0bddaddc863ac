"""Two-dimensional projections for visualisation: UMAP, t-SNE or principal components, reproducible by seed."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from phylocli.core import console
from phylocli.core.errors import MissingDependencyError, unknown_name
from phylocli.formats.embeddings import unit

FloatArray = npt.NDArray[np.float64]

METHODS = ("auto", "umap", "tsne", "pca")
METHOD_NAMES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
COMPONENTS = 50
"""Number of principal components used by UMAP and t-SNE."""
FEW = 200
"""Minimum number of points for UMAP to be the automatic choice; importing UMAP takes many seconds."""
FLAT = 1e-6
"""Unit vectors whose features all differ by no more than this are considered equal."""
LANDMARKS = 5_000
"""Number of randomly sampled points that t-SNE places; the others are interpolated between their nearest landmarks."""


def resolve_method(method: str, points: int) -> str:
    """Return the projection to use: `auto` is UMAP if it is installed and there are enough points, otherwise t-SNE.

    Raises:
        UsageError: unknown projection.
        MissingDependencyError: UMAP is requested but not installed.
    """
    if method not in METHODS:
        raise unknown_name("unknown projection", method, METHODS)
    found = find_spec("umap")
    installed = found is not None and found.origin is not None  # numba's cache remains as a folder after uninstalling
    if method == "umap" and not installed:
        raise MissingDependencyError("umap-learn is not installed", fix="pip install '.[map]', or choose tsne or pca")
    if method == "auto":
        return "umap" if installed and points >= FEW else "tsne"
    return method


def check_projection(method: str) -> None:
    """Raise a UsageError for an unknown projection, or a MissingDependencyError for one that is not installed."""
    if method != "none":
        resolve_method(method, FEW)


def describe_method(method: str, points: int) -> str:
    """Return a caption that describes the projection."""
    if method == "umap":
        return "UMAP of cosine distances"
    if method == "pca":
        return "The first two principal components"
    landmarks = f" of {LANDMARKS:,} points; the others are interpolated" if points > LANDMARKS else ""
    return f"t-SNE of cosine distances{landmarks}"


def place_points(vectors: npt.NDArray[np.float32], method: str, seed: int) -> tuple[FloatArray | None, str]:
    """Return coordinates in [0, 1], shape (n, 2), and a caption; None and the reason if the vectors cannot be projected.

    Vectors with a single feature are placed on a line; others are projected by their cosines.

    Args:
        vectors: finite vectors, shape (n, D), n ≥ 3.
        method, seed: see `coordinates`.
    """
    if vectors.shape[1] == 1:
        values = vectors[:, 0].astype(np.float64)
        low, high = values.min(), values.max()
        if low == high:
            return None, "all embeddings are the same"
        return np.stack([(values - low) / (high - low), np.full(len(values), 0.5)], axis=1), "The single feature"
    directions = unit(vectors)
    if np.ptp(directions, axis=0).max() <= FLAT:
        return None, "all embeddings have the same direction, so all cosines are 1"
    with console.progress_task(f"placing {len(vectors):,} points by {METHOD_NAMES.get(method, method)}"):
        found = coordinates(directions, method, seed)
    if not np.isfinite(found).all():
        found, method = coordinates(directions, "pca", seed), "pca"
    return found, describe_method(method, len(vectors))


def coordinates(directions: npt.NDArray[np.float32], method: str, seed: int) -> FloatArray:
    """Return coordinates in [0, 1], shape (n, 2).

    Args:
        directions: unit vectors, shape (n, D), n ≥ 3; their Euclidean distances are monotonic in their cosines.
        method: `umap` (McInnes et al. 2018, arXiv 1802.03426), `tsne` (van der Maaten & Hinton 2008, JMLR 9:2579), both
            initialised with principal components, or `pca`; see `resolve_method`.
        seed: random seed of UMAP, t-SNE and the choice of landmarks.
    """
    from sklearn.decomposition import PCA

    width = min(COMPONENTS, *directions.shape)
    solver = "covariance_eigh" if len(directions) > 10_000 else "full"
    with np.errstate(invalid="ignore", divide="ignore"):  # equal points have no variance to explain
        reduced = PCA(width, random_state=seed, svd_solver=solver).fit_transform(directions.astype(np.float64))
    if width < 2:
        reduced = np.pad(reduced, ((0, 0), (0, 2 - width)))
    if method == "umap":
        found = _umap(reduced, seed)
    elif method == "tsne":
        found = _tsne(reduced, seed)
    else:
        found = reduced[:, :2]
    low, high = found.min(axis=0), found.max(axis=0)
    return np.asarray((found - low) / np.where(high > low, high - low, 1), dtype=np.float64)


def _start(reduced: FloatArray, scale: float) -> FloatArray:
    """Return the first two components with a standard deviation of `scale`."""
    spread = float(reduced[:, 0].std()) or 1.0
    return reduced[:, :2] / spread * scale


def _umap(reduced: FloatArray, seed: int) -> FloatArray:
    from umap import UMAP

    neighbours = min(15, len(reduced) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UMAP warns that a seed implies a single thread, which is intended
        model = UMAP(n_neighbors=neighbours, init=_start(reduced, 4.0), random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(reduced.astype(np.float32)), dtype=np.float64)


def _tsne(reduced: FloatArray, seed: int) -> FloatArray:
    from sklearn.manifold import TSNE

    every = np.arange(len(reduced))
    chosen = every
    if len(every) > LANDMARKS:
        chosen = np.sort(np.random.default_rng(seed).choice(every, LANDMARKS, replace=False))
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    start = _start(reduced[chosen], 1e-4)
    model = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
    placed = np.asarray(model.fit_transform(reduced[chosen].astype(np.float32)), dtype=np.float64)
    if len(chosen) == len(every):
        return placed
    return _between(reduced, reduced[chosen], placed, chosen)


def _between(points: FloatArray, landmarks: FloatArray, placed: FloatArray, chosen: npt.NDArray[np.int64]) -> FloatArray:
    """Return the coordinates of all points: of landmarks as placed, of others by inverse-distance weighting of the five
    nearest landmarks."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(landmarks.astype(np.float32))
    distance, index = near.kneighbors(points.astype(np.float32))
    weight = 1 / np.maximum(distance.astype(np.float64), 1e-6) ** 2
    found = (placed[index] * weight[:, :, None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    found[chosen] = placed
    return found
