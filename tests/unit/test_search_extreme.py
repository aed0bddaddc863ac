"""E-values of alignments: the fit against draws whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from phylocli.errors import UsageError
from phylocli.search.extreme import Gumbel, fit_gumbel


def test_fit_finds_the_distribution_that_scores_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(50, 400, 20_000) * rng.integers(50, 400, 20_000)
    true = Gumbel(0.8, 0.03)
    scores = (np.log(true.size * cells) - np.log(-np.log(rng.random(len(cells))))) / true.rate
    found = fit_gumbel(scores, cells)
    assert found.rate == pytest.approx(true.rate, rel=0.02) and found.size == pytest.approx(true.size, rel=0.15)
    # What is promised: as many draws beyond a score as their chances say.
    for chance in (0.5, 0.01, 0.001):
        assert np.mean(found.chance(scores, cells) <= chance) == pytest.approx(chance, rel=0.3)
    # Far out E-values fall by e for each 1/λ, without running out of digits.
    far = found.chance(np.array([100.0, 100 + 1 / found.rate]), np.array([1e4, 1e4]))
    assert far[0] / far[1] == pytest.approx(np.e, rel=1e-6) and far[1] > 0


def test_too_few_or_equal_scores_are_refused() -> None:
    for scores in (np.ones(5), np.ones(50)):
        with pytest.raises(UsageError, match="say nothing about chance"):
            fit_gumbel(scores, np.full(len(scores), 100.0))
