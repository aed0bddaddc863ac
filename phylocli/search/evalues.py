"""How often chance brings two proteins as near: E-values of cosines, from each query's cosines with unrelated proteins.

Cosines as such cannot be compared between queries: embeddings fill a cone, and a query near its axis is close to everything.
So the null distribution is estimated for each query, from its cosines with a background of n unrelated proteins
(`phylocli.search.background`), by peaks over threshold (Davison & Smith 1990, doi:10.1111/j.2517-6161.1990.tb01796.x):

1. t = artanh(cosine), Fisher's transformation: cosines end at 1, t does not.
2. Up to a threshold u, p = P(T ≥ t) is the fraction of the background that is as near. u is the 21st largest of its t.
3. Beyond u, p = (20 / n) · exp(-(t - u) / σ), a generalised Pareto distribution of shape 0. σ is the maximum-likelihood
   estimate from the 20 exceedances, of which the largest two are censored (Epstein & Sobel 1953,
   doi:10.1080/01621459.1953.10483488): they may be relatives of the query.

E = p · rows of the table: the number of unrelated rows expected to be as near. It depends on the query, the target, the
model and the number of rows alone: not on what else is in the table, nor on the other queries.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from phylocli.search.database import FloatArray, IntArray

Floats = npt.NDArray[np.float64]

EXCEEDANCES, CENSORED = 20, 2
"""Largest values of t to which the tail is fitted, and those of them of which only the rank counts."""

QUERIES = 512
"""Queries whose cosines with the background are held at once."""

_LARGEST = 1 - 2.0**-21
_SMALLEST_SCALE = 1e-6


def stretch(cosines: npt.NDArray[np.floating]) -> Floats:
    """Return artanh of cosines; 1 is taken as the largest number below it that a search tells apart."""
    return np.arctanh(np.clip(cosines.astype(np.float64), -_LARGEST, _LARGEST))


def log_chances(queries: FloatArray, cosines: npt.NDArray[np.floating], background: FloatArray) -> Floats:
    """Return the logarithm of the chance that an unrelated protein is as near, (n, k).

    Args:
        queries: unit vectors (n, D).
        cosines: of each query with its hits, (n, k); -inf has the chance 1.
        background: unit vectors of unrelated proteins (m, D), more than `EXCEEDANCES`.
    """
    found = np.empty(cosines.shape)
    for start in range(0, len(queries), QUERIES):
        part = slice(start, start + QUERIES)
        found[part] = tail(stretch(queries[part] @ background.T), stretch(cosines[part]))
    return found


def tail(background: Floats, scores: Floats) -> Floats:
    """Return ln P(T ≥ t), (n, k), of scores t (n, k), each row's null distribution estimated from its background (n, m)."""
    ordered = np.sort(background, axis=1)
    count = ordered.shape[1]
    threshold = ordered[:, count - EXCEEDANCES - 1]
    excess = ordered[:, count - EXCEEDANCES :] - threshold[:, None]
    known = EXCEEDANCES - CENSORED
    scale = (excess[:, :known].sum(axis=1) + CENSORED * excess[:, known - 1]) / known
    beyond = (scores - threshold[:, None]) / np.maximum(scale, _SMALLEST_SCALE)[:, None]
    nearer = np.stack([count - np.searchsorted(row, own) for row, own in zip(ordered, scores, strict=True)])
    inside = np.log(np.maximum(nearer, EXCEEDANCES) / count)
    return np.where(beyond > 0, np.log(EXCEEDANCES / count) - beyond, inside)


def sample_rows(rows: int, size: int) -> IntArray:
    """Return the numbers of `size` rows, or all, spread over a table in an order that has nothing to do with its own."""
    return np.random.default_rng(0).permutation(rows)[:size].astype(np.int64)
