# SPDX-License-Identifier: MIT
"""Intervals: known cases, reproducibility and width."""

import numpy as np
import pytest

from walkhome.robot.evaluation.intervals import mean_interval, proportion_interval


def rng():
    return np.random.default_rng(0)


def test_a_normal_sample_has_the_textbook_interval():
    values = np.random.default_rng(1).normal(0.3, 0.05, 400)
    low, high = mean_interval(values, rng())
    half = 1.96 * values.std() / 20.0
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_the_same_generator_gives_the_same_interval():
    values = [0.1, 0.4, 0.2, 0.3]
    assert mean_interval(values, rng()) == mean_interval(values, rng())


def test_one_value_has_none_and_equal_values_have_no_width():
    assert mean_interval([0.3], rng()) is None
    assert mean_interval([], rng()) is None
    assert mean_interval([0.3, 0.3], rng()) == [0.3, 0.3]


def test_nan_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        mean_interval([0.1, float("nan")], rng())


def test_wilson_s_own_numbers():
    # R's prop.test(10, 100, correct = FALSE).
    assert proportion_interval(10, 100) == pytest.approx([0.05522914, 0.17436566], abs=1e-6)
    low, high = proportion_interval(0, 5)
    assert low == pytest.approx(0.0, abs=1e-12)
    assert high == pytest.approx(0.4344825, abs=1e-6)
