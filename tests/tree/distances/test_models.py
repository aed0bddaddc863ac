"""Substitution models against their definitions and published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, linalg, stats

from phylocli.core.alphabet import AMINO_ACIDS
from phylocli.core.errors import UsageError
from phylocli.tree.models import MODELS, discrete_gamma, substitution_model

every_model = pytest.mark.parametrize("name", MODELS)
times = st.floats(1e-6, 50)


@every_model
def test_one_substitution_is_expected_per_unit_of_time(name: str) -> None:
    model = substitution_model(name)
    rates = model.rate_matrix
    assert model.frequencies.sum() == pytest.approx(1, abs=1e-14)
    assert np.abs(rates.sum(axis=1)).max() < 1e-12
    assert -(model.frequencies * np.diag(rates)).sum() == pytest.approx(1, abs=1e-12)


@every_model
def test_eigenvalues_are_real_and_only_the_last_is_zero(name: str) -> None:
    model = substitution_model(name)
    assert model.eigenvalues[-1] == 0
    assert (model.eigenvalues[:-1] < -0.1).all()
    assert np.allclose(model.right @ model.left, np.eye(20), atol=1e-12)


@given(times)
def test_transition_is_the_matrix_exponential(time: float) -> None:
    for name in MODELS:
        model = substitution_model(name)
        assert np.allclose(model.transition(time), linalg.expm(model.rate_matrix * time), atol=1e-10)


@given(times, st.sampled_from([0.2, 1.0, 5.0, float("inf")]))
def test_rows_sum_to_one_and_detailed_balance_holds(time: float, alpha: float) -> None:
    for name in MODELS:
        model = substitution_model(name)
        for p in (model.transition(time), model.gamma_transition(time, alpha)):
            assert np.allclose(p.sum(axis=1), 1, atol=1e-11)
            flow = model.frequencies[:, None] * p
            assert np.allclose(flow, flow.T, atol=1e-12)
            assert (p >= 0).all()


@given(times, times)
def test_chapman_kolmogorov(first: float, second: float) -> None:
    for name in MODELS:
        model = substitution_model(name)
        assert np.allclose(model.transition(first) @ model.transition(second), model.transition(first + second), atol=1e-11)


def test_poisson_has_its_closed_form() -> None:
    time = np.array([0.01, 0.5, 3.0])
    same = 1 / 20 + 19 / 20 * np.exp(-20 / 19 * time)
    assert np.allclose(substitution_model("poisson").transition(time)[:, 3, 3], same)


def test_transition_over_gamma_rates_is_the_integral_over_the_rate() -> None:
    model = substitution_model("lg")
    alpha, time = 0.7, 1.3
    rate = stats.gamma(alpha, scale=1 / alpha)
    for i, j in [(0, 0), (1, 18), (7, 9)]:
        value, _ = integrate.quad(lambda u, i=i, j=j: model.transition(rate.ppf(u) * time)[i, j], 0, 1, epsabs=1e-9)
        assert model.gamma_transition(time, alpha)[i, j] == pytest.approx(value, abs=1e-7)


def test_discrete_gamma_has_the_published_rates() -> None:
    # Yang (1994), table 1 and baseml's documentation: α = 0.5 in four categories of mean rates.
    assert np.allclose(discrete_gamma(0.5, 4), [0.0334, 0.2519, 0.8203, 2.8944], atol=1e-4)


@given(st.floats(0.02, 200), st.integers(1, 16))
def test_discrete_gamma_rates_rise_and_average_to_one(alpha: float, categories: int) -> None:
    rates = discrete_gamma(alpha, categories)
    assert rates.mean() == pytest.approx(1, abs=1e-10)
    assert (np.diff(rates) >= 0).all()


def test_many_categories_come_to_the_continuous_average() -> None:
    model = substitution_model("wag")
    rates = discrete_gamma(1.2, 2000)
    assert np.allclose(model.transition(rates * 0.8).mean(axis=0), model.gamma_transition(0.8, 1.2), atol=1e-5)


def test_letters_are_in_the_order_of_the_alphabet() -> None:
    # Leucine is the most frequent, tryptophan and cysteine the rarest; I and V exchange most readily under LG.
    model = substitution_model("lg")
    assert AMINO_ACIDS[model.frequencies.argmax()] == "L"
    assert {AMINO_ACIDS[i] for i in np.argsort(model.frequencies)[:2]} == {"C", "W"}
    i, j = np.unravel_index(model.exchangeabilities.argmax(), (20, 20))
    assert {AMINO_ACIDS[i], AMINO_ACIDS[j]} == {"I", "V"}
    assert model.frequencies[AMINO_ACIDS.index("A")] == pytest.approx(0.079066, abs=1e-6)


def test_an_unknown_model_and_a_bad_shape_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="unknown substitution model"):
        substitution_model("lgg")
    with pytest.raises(UsageError, match="shape"):
        discrete_gamma(0.0)
