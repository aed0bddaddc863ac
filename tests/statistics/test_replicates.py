"""Means of a few replicates: Student's t, and intervals within the bounds of a metric."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from phylocli.statistics.replicates import mean_interval


def test_the_interval_is_students() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 4.0])
    half = 4.302652729911275 * math.sqrt(7 / 3) / math.sqrt(3)  # the quantile at 0.975 with two degrees of freedom
    assert (mean, low, high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))
    assert mean_interval([1.0])[0] == 1.0 and math.isnan(mean_interval([1.0])[1])


def test_that_of_a_bounded_metric_is_students_on_the_logit_scale() -> None:
    values = [0.2, 0.4]
    center, half = logit(values).mean(), 12.706204736432095 * logit(values).std(ddof=1) / math.sqrt(2)
    expected = (0.3, float(expit(center - half)), float(expit(center + half)))
    assert mean_interval(values, (0, 1)) == pytest.approx(expected)
    assert mean_interval([-0.6, -0.2], (-1, 1)) == pytest.approx([2 * x - 1 for x in expected])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_it_lies_within_the_bounds_and_holds_the_mean(values: list[float]) -> None:
    mean, low, high = mean_interval(values, (0, 1))
    assert -1e-12 <= low <= mean + 1e-12 and mean - 1e-12 <= high <= 1 + 1e-12


def test_the_accuracies_of_two_seeds_no_longer_reach_below_zero() -> None:
    _, low, high = mean_interval([0.067, 0.184], (0, 1))
    assert 0 < low < 0.02 and 0.7 < high < 1
