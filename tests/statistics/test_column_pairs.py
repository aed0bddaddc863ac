"""Statistics of pairs of columns against loops over the definitions, and columns whose dependence is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from phylocli.statistics.column_pairs import correlation_of_connected, mutual_information, pearson


def sample(n: int, columns: int, seed: int, symbols: int = 21) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, symbols, (n, columns)).astype(np.uint8)


def slow_information(states: np.ndarray, pseudocount: float) -> list[float]:
    n, columns = states.shape
    total, found = n + pseudocount, []
    for i, j in itertools.combinations(range(columns), 2):
        value = 0.0
        for a, b in itertools.product(range(21), repeat=2):
            both = (((states[:, i] == a) & (states[:, j] == b)).sum() + pseudocount / 441) / total
            alone = [((states[:, k] == x).sum() + pseudocount / 21) / total for k, x in ((i, a), (j, b))]
            value += both * math.log(both / (alone[0] * alone[1]))
        found.append(value)
    return found


def slow_connected(states: np.ndarray) -> np.ndarray:
    found = []
    for i, j in itertools.combinations(range(states.shape[1]), 2):
        for a, b in itertools.product(range(20), repeat=2):
            first, second = states[:, i] == a, states[:, j] == b
            found.append((first & second).mean() - first.mean() * second.mean())
    return np.array(found)


def test_mutual_information_equals_a_loop_over_its_definition() -> None:
    states = sample(9, 4, 0)
    assert mutual_information(states) == pytest.approx(slow_information(states, 0.5), abs=1e-6)


def test_equal_columns_have_the_entropy_and_independent_ones_nothing() -> None:
    one = np.tile(np.repeat(np.arange(4, dtype=np.uint8), 4), 64)
    other = np.tile(np.arange(4, dtype=np.uint8), 256)
    found = mutual_information(np.stack([one, one, other], axis=1), pseudocount=1e-9)
    assert found == pytest.approx([math.log(4), 0, 0], abs=1e-5)


def test_correlation_of_connected_correlations_equals_numpys_of_loops() -> None:
    a, b = sample(30, 4, 1, 4), sample(20, 4, 2, 4)
    b[:, 1] = b[:, 0]
    a[:, 1] = a[:, 0]
    expected = np.corrcoef(slow_connected(a), slow_connected(b))[0, 1]
    assert correlation_of_connected(a, b) == pytest.approx(expected, abs=1e-6)


def test_constant_columns_have_no_correlation() -> None:
    constant = np.zeros((5, 3), dtype=np.uint8)
    assert math.isnan(correlation_of_connected(constant, sample(5, 3, 0)))
    assert math.isnan(pearson(np.ones(3), np.arange(3.0))) and math.isnan(pearson(np.zeros(0), np.zeros(0)))
    assert pearson(np.array([1.0, 2, 4]), np.array([2.0, 4, 8])) == pytest.approx(1)
