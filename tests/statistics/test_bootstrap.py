"""Intervals cover, differences are paired, corrections are Holm's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from phylocli.statistics.bootstrap import Estimate, holm, interval, mean_estimate, paired_difference, replicate, resamples


def test_a_mean_of_items_is_its_value() -> None:
    estimate = mean_estimate("m", [1, 2, 6])
    assert estimate.value == 3 and estimate.n == 3


def test_the_same_seed_gives_the_same_draws_and_another_seed_others() -> None:
    a, b, c = (np.stack(list(resamples(50, 20, seed))) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_the_bootstrap_of_a_mean_has_the_standard_error_of_theory() -> None:
    items = np.random.default_rng(0).normal(size=400)
    spread = replicate(mean_estimate("m", items), 4000, 0).std()
    assert spread == pytest.approx(items.std() / np.sqrt(400), rel=0.05)


def test_the_interval_covers_the_truth_about_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        estimate = mean_estimate("m", rng.binomial(1, 0.3, 120))
        low, high = interval(estimate, replicate(estimate, 400, trial))
        hits += low <= 0.3 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_whole_groups_are_resampled() -> None:
    groups = np.array([5, 5, 5, 2, 2, 9])
    for index in resamples(6, 200, 0, groups):
        counts = np.bincount(index, minlength=6)
        assert counts[0] == counts[1] == counts[2] and counts[3] == counts[4]
        assert counts[0] + counts[3] + counts[5] == 3


def test_resampling_groups_widens_the_interval_of_correlated_items() -> None:
    rng = np.random.default_rng(0)
    items = np.repeat(rng.normal(size=20), 25)
    groups = np.repeat(np.arange(20), 25)
    estimate = mean_estimate("m", items)
    alone, together = replicate(estimate, 1000, 0).std(), replicate(estimate, 1000, 0, groups).std()
    assert together / alone == pytest.approx(5, rel=0.25)


@pytest.mark.parametrize("right", [0, 7])
def test_seven_of_seven_right_is_not_certain(right: int) -> None:
    estimate = mean_estimate("m", np.repeat([1.0, 0.0], [right, 7 - right]))
    low, high = interval(estimate, replicate(estimate, 200, 0))
    expected = stats.binomtest(right, 7).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_one_item_has_no_interval() -> None:
    estimate = mean_estimate("m", [0.4])
    assert np.isnan(interval(estimate, replicate(estimate, 200, 0))).all()


def test_pairing_sees_a_small_steady_difference_that_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=100)
    a, b = mean_estimate("m", hard + 0.1 + rng.normal(scale=0.05, size=100)), mean_estimate("m", hard)
    draws_a, draws_b = replicate(a, 2000, 0), replicate(b, 2000, 0)
    assert interval(a, draws_a)[0] < interval(b, draws_b)[1]
    found = paired_difference(a, b, draws_a, draws_b, 100)
    assert found.low > 0.05 and found.p < 1e-6


def test_the_p_value_is_that_of_the_paired_t_test_for_means() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40)) + np.array([[0.2], [0.0]])
    a, b = mean_estimate("m", x), mean_estimate("m", y)
    found = paired_difference(a, b, replicate(a, 20_000, 0), replicate(b, 20_000, 0), 40)
    assert found.p == pytest.approx(stats.ttest_rel(x, y).pvalue, rel=0.1)


def test_equal_figures_differ_by_nothing_with_p_one() -> None:
    a = mean_estimate("m", [0.0, 1.0, 1.0])
    draws = replicate(a, 200, 0)
    assert paired_difference(a, a, draws, draws, 3).p == 1.0


def test_a_difference_without_spread_gets_the_p_value_of_the_sign_test() -> None:
    a, b = mean_estimate("m", np.ones(5)), mean_estimate("m", np.zeros(5))
    found = paired_difference(a, b, replicate(a, 200, 0), replicate(b, 200, 0), 5)
    assert found.p == 2.0**-4 == pytest.approx(stats.binomtest(5, 5).pvalue)


def test_p_values_under_no_difference_are_uniform_enough() -> None:
    rng = np.random.default_rng(5)
    below = 0
    for trial in range(200):
        a, b = (mean_estimate("m", rng.normal(size=30)) for _ in range(2))
        below += paired_difference(a, b, replicate(a, 300, trial), replicate(b, 300, trial), 30).p < 0.05
    assert below / 200 < 0.11


def test_holm_on_the_textbook_example_and_nan() -> None:
    found = holm([0.01, 0.04, float("nan"), 0.03, 0.005])
    assert found == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert len(holm([])) == 0


def test_normal_intervals_are_centred_on_the_value() -> None:
    estimate = Estimate("m", 0.7, 50, statistic=lambda index: float(index.mean()) / 50, interval="normal")
    low, high = interval(estimate, replicate(estimate, 300, 0))
    assert (low + high) / 2 == pytest.approx(0.7)


def test_a_slow_figure_asks_for_fewer_replicates() -> None:
    estimate = Estimate("m", 1.0, 5, statistic=lambda index: 1.0, replicates=30)
    assert len(replicate(estimate, 2000, 0)) == 30


def test_a_normal_interval_ends_where_the_statistic_does():
    truth = np.array([1, 1, 1, 0])
    estimate = Estimate(
        "macro-F1", 0.95, 4, statistic=lambda index: float(truth[index].mean()), interval="normal", bounds=(0.0, 1.0)
    )
    low, high = interval(estimate, replicate(estimate, 200, 0))
    assert 0 < low < 0.95
    assert high == 1.0
