"""The Fréchet distance against its closed form and matrix roots; its bias by sample size, and the extrapolation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from phylocli.statistics.frechet import distances_by_size, extrapolated, frechet_distance


def by_matrix_roots(a: np.ndarray, b: np.ndarray) -> float:
    """The definition, as in Heusel et al.'s code."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(first + second - 2 * root))


def test_it_equals_the_definition_by_matrix_roots() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)), 1 + rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    assert frechet_distance(a, b) == pytest.approx(by_matrix_roots(a, b), rel=1e-6)


def test_fewer_vectors_than_features_have_a_distance_too() -> None:
    """A sample that is moved has the squared length of the move."""
    a = np.random.default_rng(1).normal(size=(4, 30))
    assert frechet_distance(a, a + 2) == pytest.approx(30 * 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert np.isnan(frechet_distance(a[:1], a))


def test_large_samples_of_gaussians_have_the_closed_form() -> None:
    """Σ (μ₁ − μ₂)² + (σ₁ − σ₂)² over independent features."""
    rng = np.random.default_rng(2)
    a = rng.normal(size=(40000, 3)) * [1, 2, 3]
    b = rng.normal(size=(40000, 3)) * [2, 2, 1] + [1, 0, 0]
    assert frechet_distance(a, b) == pytest.approx(1 + 1 + 0 + 4, rel=0.03)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_vectors_have_no_more_subsets_than_there_are(n: int) -> None:
    rng = np.random.default_rng(4)
    sizes, distances = distances_by_size(rng.normal(size=(n, 3)), rng.normal(size=(20, 3)), rng)
    assert sizes.max() == n
    assert np.isfinite(distances).all() == (n > 1)
    assert np.isfinite(extrapolated(sizes, distances)) == (n > 2)


def test_the_bias_falls_with_the_number_of_vectors_and_the_extrapolation_is_near_the_truth() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(1000, 20)), rng.normal(size=(1000, 20))
    sizes, distances = distances_by_size(a, b, rng, repeats=8)
    assert (np.diff(distances) < 0).all() and sizes[-1] == 1000
    assert abs(extrapolated(sizes, distances)) < 0.2 * distances[-1]
    b += 0.5  # the distance of the distributions is 20 · 0.25
    assert extrapolated(*distances_by_size(a, b, rng, repeats=8)) == pytest.approx(5, rel=0.05)
