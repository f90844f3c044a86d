# SPDX-License-Identifier: MIT
"""Statistics against values computed by hand, by another library, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from walkhome.robot.ablation.statistics import (
    MIN_PAIRS,
    bootstrap_interval,
    estimate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)

X = np.array([0.9, 1.0, 0.85, 1.1, 1.2])
Y = np.array([0.7, 0.95, 0.8, 1.0, 0.6])
SOME = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7.0], 7.0),
        ([1.0, 2.0, 6.0], 3.0),  # three quarters of a value are none: nothing is left out
        ([1.0, 2.0, 3.0, 100.0], 2.5),
        ([10.0, 1.0, 3.0, 2.0, 4.0], 3.0),
        (range(1, 9), 4.5),
    ],
)
def test_interquartile_means_by_hand(values, expected):
    assert interquartile_mean(values) == pytest.approx(expected)


def test_the_same_as_rliable():
    # rliable 1.2.0, get_interval_estimates with 20 000 repetitions on these samples; the bootstrap
    # of five values has few different results, so both find the same ends.
    found = estimate(X)
    assert (found.value, found.low, found.high) == pytest.approx(
        (1.0, 0.866667, 1.166667), abs=1e-5
    )
    better = paired_difference(X, Y).improvement
    assert (better.value, better.low, better.high) == pytest.approx((0.82, 0.5, 1.0))


def test_paired_differences_are_students():
    found = paired_difference(X, Y)
    t = stats.ttest_rel(X, Y).confidence_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((0.2, t.low, t.high))
    assert found.sign == 0
    narrow = paired_difference(X, Y, comparisons=10)
    assert narrow.confidence == pytest.approx(0.995)
    assert narrow.low < found.low
    assert narrow.high > found.high


def test_a_claim_needs_an_interval_that_excludes_zero():
    step = np.array([1.0, 1.1, 0.9, 1.05, 1.0])
    assert paired_difference(Y + step, Y).sign == 1
    assert paired_difference(Y, Y + step).sign == -1
    assert paired_difference(Y, Y).sign == 0
    few = MIN_PAIRS - 1
    assert paired_difference(Y[:few] + step[:few], Y[:few]).sign == 0
    one = paired_difference(Y[:1] + 1.0, Y[:1])
    assert (one.sign, one.n, one.mean) == (0, 1, pytest.approx(1.0))
    assert math.isnan(one.low)
    assert paired_difference([], []).sign == 0


def test_pairs_need_the_same_seeds():
    with pytest.raises(ValueError, match="same seeds"):
        paired_difference(X, Y[:3])


def test_probability_of_improvement_by_hand():
    assert probability_of_improvement([1.0, 2.0], [0.0, 1.0]) == pytest.approx(3.5 / 4)
    assert probability_of_improvement([1.0], [1.0]) == 0.5
    u = stats.mannwhitneyu(X, Y).statistic
    assert probability_of_improvement(X, Y) == pytest.approx(u / 25)


@given(SOME, SOME)
def test_improving_and_worsening_are_complements(x, y):
    there, back = probability_of_improvement(x, y), probability_of_improvement(y, x)
    assert there + back == pytest.approx(1.0)


@settings(max_examples=40)
@given(SOME)
def test_an_interval_lies_within_the_sample(values):
    found = estimate(values)
    slack = 1e-6  # means of equal values differ in their last digits
    assert min(values) - slack <= found.low <= found.high + slack <= max(values) + 2 * slack
    assert found.n == len(values)


def test_the_same_seed_gives_the_same_interval():
    assert estimate(X) == estimate(X)
    values = np.random.default_rng(0).normal(size=9)
    assert estimate(values, seed=1) != estimate(values, seed=2)


def test_one_run_has_no_interval():
    found = estimate([3.0])
    assert (found.value, found.n, found.has_interval) == (3.0, 1, False)
    assert not estimate([]).has_interval


def test_every_stratum_is_resampled_on_its_own():
    # Ten equal values and ten other equal values: resampled together their mean would vary.
    low, high = bootstrap_interval([np.zeros(10), np.ones(10)])
    assert (low, high) == (0.5, 0.5)


def test_a_curve_is_estimated_point_by_point():
    table = np.random.default_rng(0).normal(size=(6, 4))
    low, high = bootstrap_interval([table])
    assert low.shape == high.shape == (4,)
    one_low, one_high = map(float, bootstrap_interval([table[:, 2]]))
    assert (low[2], high[2]) == pytest.approx((one_low, one_high), abs=0.1)


def coverage(n, trials=150):
    """Return the coverage of the intervals of n normal values and of n paired differences."""
    rng = np.random.default_rng(n)
    described = claimed = 0
    for trial in range(trials):
        x, y = rng.normal(1.0, 2.0, n), rng.normal(1.0, 2.0, n)
        low, high = bootstrap_interval([x], seed=trial)
        described += low <= 1.0 <= high
        claimed += paired_difference(x, y, seed=trial).sign == 0
    return described / trials, claimed / trials


def test_coverage_is_what_the_page_says():
    described, claimed = coverage(5)
    assert 0.84 <= described <= 0.93  # the page: about 90 %, not 95
    assert 0.90 <= claimed <= 0.99  # no claim where there is no difference
    described, _ = coverage(20)
    assert 0.92 <= described <= 0.98
