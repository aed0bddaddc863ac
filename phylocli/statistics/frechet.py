"""The Fréchet distance between two samples of vectors, taken as Gaussians, and its bias by sample size.

    d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)

Dowson & Landau 1982 (doi:10.1016/0047-259X(82)90077-X); as the Fréchet inception distance, Heusel et al. 2017
(arXiv 1706.08500), which reports d². Means and covariances of samples are noisy, so the distance of two samples of one
distribution is above 0, and falls in proportion to 1/n. Chong & Forsyth 2020 (arXiv 1911.07023) extrapolate it to infinite
samples by a line in 1/n.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

SIZES = (0.25, 0.35, 0.5, 0.7, 1.0)
"""Fractions of the samples at which the distance is computed for the extrapolation."""


def frechet_distance(a: FloatArray, b: FloatArray) -> float:
    """Return d² of two samples, (n, D) and (m, D); NaN for fewer than two vectors.

    The trace of (Σ₁ Σ₂)^½ is the sum of the singular values of R₁ R₂ᵀ, where Rᵀ R is the covariance of a sample, so no
    matrix root is taken.
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    roots: list[FloatArray] = []
    total = float(np.square(a.mean(0) - b.mean(0)).sum())
    for x in (a, b):
        centred = (x - x.mean(0)) / np.sqrt(len(x) - 1)
        roots.append(np.asarray(np.linalg.qr(centred, mode="r")))
        total += float(np.square(centred).sum())
    return max(0.0, total - 2 * float(np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()))


def distances_by_size(
    a: FloatArray, b: FloatArray, rng: np.random.Generator, repeats: int = 4
) -> tuple[FloatArray, FloatArray]:
    """Return numbers of vectors, (S,), and the mean d² of random subsets of so many vectors of both samples, (S,): NaN for
    fewer than two."""
    n = min(len(a), len(b))
    sizes = np.unique([min(n, max(2, round(fraction * n))) for fraction in SIZES])
    found = [
        np.mean(
            [
                frechet_distance(a[rng.choice(len(a), size, replace=False)], b[rng.choice(len(b), size, replace=False)])
                for _ in range(repeats)
            ]
        )
        for size in sizes
    ]
    return sizes.astype(float), np.array(found)


def extrapolated(sizes: FloatArray, distances: FloatArray) -> float:
    """Return the intercept of the line through distances (S,) over 1/n, at infinite samples; NaN for a single size.

    It is an unbiased estimate to first order, so it may be slightly below 0.
    """
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(1 / sizes, distances, 1)[1])
