"""E-values of cosines, from the null distribution of the cosines of each query with unrelated proteins.

Cosines are not comparable between queries: embeddings are anisotropic, and queries near the mean direction are similar to
all proteins. Therefore the null distribution is estimated for each query, from its cosines with a background of n unrelated
proteins (`phylocli.search.background`), by peaks over threshold (Davison & Smith 1990,
doi:10.1111/j.2517-6161.1990.tb01796.x):

1. t = artanh(cosine), Fisher's transformation, which is unbounded.
2. Up to a threshold u, p = P(T ≥ t) is the fraction of the background that is at least as similar. u is the 21st largest t.
3. Beyond u, p = (20 / n) · exp(-(t - u) / σ), a generalised Pareto distribution of shape 0. σ is the maximum-likelihood
   estimate from the 20 exceedances, of which the largest two are censored (Epstein & Sobel 1953,
   doi:10.1080/01621459.1953.10483488): they may be homologs of the query.

E = p · (rows of the table): the expected number of unrelated rows that are at least as similar. It depends only on the
query, the target, the model and the number of rows, not on other rows or queries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.search.database import FloatArray, IntArray

Floats = npt.NDArray[np.float64]

EXCEEDANCES, CENSORED = 20, 2
"""Number of exceedances to which the tail is fitted, and number of the largest of them that are censored."""

QUERIES = 512
"""Number of queries per block, which bounds memory."""

_LARGEST = 1 - 2.0**-21
_SMALLEST_SCALE = 1e-6


def fisher_z(cosines: npt.NDArray[np.floating]) -> Floats:
    """Return Fisher's z (artanh) of cosines, clipped to ±(1 - 2⁻²¹), half a step of the rounding in `exact`."""
    return np.arctanh(np.clip(cosines.astype(np.float64), -_LARGEST, _LARGEST))


def log_p_values(queries: FloatArray, cosines: npt.NDArray[np.floating], background: FloatArray) -> Floats:
    """Return the log p-values of cosines, (n, k): the probability that an unrelated protein is at least as similar.

    Args:
        queries: unit vectors (n, D).
        cosines: the cosines of each query with its hits, (n, k); -inf where there is no hit.
        background: unit vectors of unrelated proteins, (m, D), m > `EXCEEDANCES`.
    """
    found = np.empty(cosines.shape)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        found[part] = log_survival(fisher_z(queries[part] @ background.T), fisher_z(cosines[part]))
    return found


def cosine_cutoffs(queries: FloatArray, log_p: float, background: FloatArray) -> Floats:
    """Return the smallest cosine of each query, (n,), whose log p-value is at most `log_p`: the inverse of `log_p_values`.

    It is above 1 if no cosine is significant, and -1 if all are.
    """
    found = np.empty(len(queries))
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        found[part] = np.tanh(_scores_at(fisher_z(queries[part] @ background.T), log_p))
    return np.where(found > _LARGEST, np.inf, found)


def _scores_at(background: Floats, log_p: float) -> Floats:
    """Return the smallest scores t, (n,), with ln P(T ≥ t) ≤ `log_p`, given background scores (n, m)."""
    ordered, threshold, scale = _tails(background)
    count = ordered.shape[1]
    if log_p < np.log(EXCEEDANCES / count):
        return np.asarray(threshold + scale * (np.log(EXCEEDANCES / count) - log_p))
    nearer = int(np.exp(min(log_p, 0.0)) * count * (1 + 1e-12))
    return np.full(len(ordered), -np.inf) if nearer >= count else np.nextafter(ordered[:, count - nearer - 1], np.inf)


def _tails(background: Floats) -> tuple[Floats, Floats, Floats]:
    """Return background scores in ascending order, (n, m), and the thresholds and scales of their tails, (n,) each."""
    ordered = np.sort(background, axis=1)
    count = ordered.shape[1]
    threshold = ordered[:, count - EXCEEDANCES - 1]
    excess = ordered[:, count - EXCEEDANCES :] - threshold[:, None]
    known = EXCEEDANCES - CENSORED
    scale = (excess[:, :known].sum(axis=1) + CENSORED * excess[:, known - 1]) / known
    return ordered, threshold, np.maximum(scale, _SMALLEST_SCALE)


def log_survival(background: Floats, scores: Floats) -> Floats:
    """Return the log survival function ln P(T ≥ t), (n, k), of scores t (n, k), given background scores (n, m)."""
    ordered, threshold, scale = _tails(background)
    count = ordered.shape[1]
    beyond = (scores - threshold[:, None]) / scale[:, None]
    nearer = np.stack([count - np.searchsorted(row, own) for row, own in zip(ordered, scores, strict=True)])
    inside = np.log(np.maximum(nearer, EXCEEDANCES) / count)
    return np.where(beyond > 0, np.log(EXCEEDANCES / count) - beyond, inside)


def sample_rows(rows: int, size: int) -> IntArray:
    """Return a random sample of `size` row numbers (or all rows, if fewer), always with the same seed."""
    return np.random.default_rng(0).permutation(rows)[:size].astype(np.int64)
