"""Information between homologs: closed forms, quadrature, simulation, and limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from phylocli.core.errors import UsageError
from phylocli.simulate import Substitutions
from phylocli.tree.information import distance_of_information, log_ratio, site_information
from phylocli.tree.models import substitution_model


def test_equal_exchangeabilities_have_a_closed_form() -> None:
    """Poisson model: P(same) = 1/20 + 19/20 exp(-20/19 t), and 19 equal other probabilities."""
    model = substitution_model("poisson")
    for t in (0.1, 0.7, 3.0):
        same = 1 / 20 + 19 / 20 * math.exp(-20 / 19 * t)
        other = (1 - same) / 19
        expected = same * math.log(20 * same) + 19 * other * math.log(20 * other)
        assert float(site_information(model, t)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["lg", "wag", "jtt"])
def test_information_falls_from_the_entropy_of_residues_to_zero(name: str) -> None:
    model = substitution_model(name)
    distances = np.array([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 1000.0])
    for alpha in (0.5, 1.0, math.inf):
        nats = site_information(model, distances, alpha)
        assert nats[0] == pytest.approx(-(model.frequencies * np.log(model.frequencies)).sum(), rel=1e-9)
        assert (np.diff(nats) < 0).all() and 0 <= nats[-1] < 1e-2


def test_known_rates_tell_more_and_agree_with_numerical_integration() -> None:
    from scipy.integrate import quad
    from scipy.stats import gamma

    model = substitution_model("lg")

    def integrand(r: float, alpha: float, t: float) -> float:
        return float(gamma.pdf(r, alpha, scale=1 / alpha) * site_information(model, r * t))

    for alpha, t in ((0.7, 0.5), (1.0, 1.5), (2.0, 3.0)):
        known = float(site_information(model, t, alpha, known_rates=True))
        expected = quad(integrand, 0, 60 / alpha, (alpha, t), limit=400, points=[0.01, 0.1, 1.0])[0]
        assert known == pytest.approx(expected, rel=3e-3)
        assert known > float(site_information(model, t, alpha))
    equal = float(site_information(model, 1.0))
    assert float(site_information(model, 1.0, 1e4, known_rates=False)) == pytest.approx(equal, rel=1e-3)
    assert float(site_information(model, 1.0, math.inf, known_rates=True)) == pytest.approx(equal)


def test_simulated_homologs_have_the_information_on_average() -> None:
    model, rng = substitution_model("lg"), np.random.default_rng(0)
    channel, alpha, t, n = Substitutions(model), 1.0, 0.8, 400_000
    a = channel.equilibrium(n, rng)
    b = channel.evolve(a, t * rng.gamma(alpha, 1 / alpha, n), rng)
    pointwise = log_ratio(model, t, alpha)[a, b]
    error = pointwise.std() / math.sqrt(n)
    assert pointwise.mean() == pytest.approx(float(site_information(model, t, alpha)), abs=4 * error)
    # Uninformed: unrelated residues are expected to be less likely a pair.
    assert log_ratio(model, t, alpha)[a, channel.equilibrium(n, rng)].mean() < 0


def test_the_distance_of_an_information_is_the_inverse() -> None:
    model = substitution_model("lg")
    for nats in (2.0, 0.5, 0.05):
        t = distance_of_information(model, nats, 1.0)
        assert float(site_information(model, t, 1.0)) == pytest.approx(nats, rel=1e-6)
    assert distance_of_information(model, 3.0) == 0
    with pytest.raises(UsageError):
        distance_of_information(model, 0.0)
    for t, alpha in ((-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, 0.0), (1.0, math.nan)):
        with pytest.raises(UsageError):
            site_information(model, t, alpha)
