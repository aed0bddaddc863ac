"""Figures of rankings against scikit-learn, with ties, missing scores and resamples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from phylocli.statistics.ranking import Ranked, RankedClasses


@pytest.mark.parametrize("ties", [False, True])
def test_area_and_average_precision_agree_with_scikit_learn(ties: bool) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    scores = truth + rng.normal(size=300)
    scores = np.round(scores) if ties else scores
    ranked = Ranked(scores, truth, np.arange(300), 300)
    assert ranked.auroc() == pytest.approx(reference.roc_auc_score(truth, scores))
    assert ranked.average_precision() == pytest.approx(reference.average_precision_score(truth, scores))


def test_a_resample_is_what_repeating_the_items_gives() -> None:
    rng = np.random.default_rng(1)
    truth, scores, owners = rng.random(200) < 0.4, rng.normal(size=200).round(1), rng.integers(0, 20, 200)
    ranked = Ranked(scores, truth, owners, 20)
    index = rng.integers(0, 20, 20)
    rows = np.concatenate([np.flatnonzero(owners == unit) for unit in index])
    again = Ranked(scores[rows], truth[rows], np.arange(len(rows)), len(rows))
    assert ranked.auroc(index) == pytest.approx(again.auroc())
    assert ranked.average_precision(index) == pytest.approx(again.average_precision())
    assert ranked.precision_at(0.5, index) == pytest.approx(again.precision_at(0.5))


def test_missing_scores_rank_last_and_tie_with_each_other() -> None:
    ranked = Ranked([2.0, -np.inf, -np.inf, -np.inf], [True, True, False, False], np.arange(4), 4)
    # The found one beats both strangers, the missing one ties with both: (2 + 2 · ½) / 4.
    assert ranked.auroc() == pytest.approx(0.75)
    assert ranked.precision_at(0.5) == 1.0
    assert ranked.precision_at(1.0) == 0.5


def test_without_both_kinds_there_is_no_area() -> None:
    assert np.isnan(Ranked([1.0, 2.0], [True, True], np.arange(2), 2).auroc())
    assert np.isnan(Ranked([], [], np.arange(0), 0).average_precision())


def test_mean_over_classes_excludes_empty_classes() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random((80, 4)) < 0.3
    truth[:, 2] = False
    scores = truth + rng.normal(size=(80, 4))
    expected = np.mean([reference.average_precision_score(truth[:, c], scores[:, c]) for c in (0, 1, 3)])
    assert RankedClasses(scores, truth).average_precision() == pytest.approx(expected)


def test_the_curve_has_the_area() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(2000) < 0.4
    ranked = Ranked(truth + rng.normal(size=2000), truth, np.arange(2000), 2000)
    x, y = ranked.roc()
    assert len(x) <= 100 and (x[0], y[0], x[-1], y[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert np.trapezoid(y, x) == pytest.approx(ranked.auroc(), abs=0.005)
