# SPDX-License-Identifier: MIT
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import butter

from walkhome.safety.command.action_filter import ActionFilter

signals = arrays(np.float64, (20, 8), elements=st.floats(-10.0, 10.0))


@pytest.mark.parametrize("order", [1, 2])
@settings(max_examples=30)
@given(signal=signals, start=arrays(np.float64, 8, elements=st.floats(-5.0, 5.0)))
def test_equals_the_difference_equation_started_in_steady_state(order, signal, start):
    low_pass = ActionFilter(8, order, 5.0, 50.0)
    low_pass.reset(start)
    filtered = np.stack([low_pass(x) for x in signal])
    # a_0 y_t = sum_i b_i x_(t-i) - sum_i a_i y_(t-i), with x = y = start before the first sample.
    b, a = butter(order, 5.0, fs=50.0)
    x, y = [start] * order + list(signal), [start] * order
    for t in range(order, len(x)):
        forward = sum(b[i] * x[t - i] for i in range(order + 1))
        y.append((forward - sum(a[i] * y[t - i] for i in range(1, order + 1))) / a[0])
    np.testing.assert_allclose(filtered, y[order:], atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_starts_at_the_reset_value_and_has_unit_gain(order):
    low_pass = ActionFilter(8, order, 5.0, 50.0)
    posture = np.linspace(-1.0, 1.0, 8)
    low_pass.reset(posture)
    for _ in range(50):
        np.testing.assert_allclose(low_pass(posture), posture, atol=1e-12)
    for _ in range(200):
        y = low_pass(np.ones(8))
    np.testing.assert_allclose(y, 1.0, atol=1e-9)


def test_without_cutoff_passes_through():
    low_pass = ActionFilter(8, 1, None, 50.0)
    x = np.random.default_rng(0).normal(size=8)
    np.testing.assert_array_equal(low_pass(x), x)
    assert low_pass(x) is not x


@pytest.mark.parametrize("order", [1, 2])
def test_state_survives_saving_bit_for_bit(order):
    rng = np.random.default_rng(1)
    one, other = ActionFilter(8, order, 5.0, 50.0), ActionFilter(8, order, 5.0, 50.0)
    for _ in range(10):
        one(rng.normal(size=8))
    other.load_state_dict(one.state_dict())
    for _ in range(10):
        x = rng.normal(size=8)
        np.testing.assert_array_equal(one(x), other(x))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_refuses_what_is_not_finite_and_keeps_its_state(bad):
    low_pass = ActionFilter(8, 1, 5.0, 50.0)
    low_pass(np.ones(8))
    before = low_pass.state_dict()["delay"]
    x = np.zeros(8)
    x[3] = bad
    with pytest.raises(ValueError, match="not finite"):
        low_pass(x)
    with pytest.raises(ValueError, match="not finite"):
        low_pass.reset(x)
    np.testing.assert_array_equal(low_pass.state_dict()["delay"], before)


@pytest.mark.parametrize(
    ("size", "order", "cutoff_hz"),
    [(0, 1, 5.0), (8, 3, 5.0), (8, 0, 5.0), (8, 1, 25.0), (8, 1, 0.0)],
)
def test_refuses_impossible_designs(size, order, cutoff_hz):
    with pytest.raises(ValueError):
        ActionFilter(size, order, cutoff_hz, 50.0)


def test_refuses_wrong_shapes():
    low_pass = ActionFilter(8, 1, 5.0, 50.0)
    with pytest.raises(ValueError, match="shape"):
        low_pass(np.zeros(7))
    with pytest.raises(ValueError, match="memory"):
        low_pass.load_state_dict({"delay": np.zeros((2, 8))})
    with pytest.raises(ValueError, match="memory"):
        low_pass.load_state_dict({"delay": np.full((1, 8), np.nan)})


def test_import_leaves_scipy_signal_alone():
    code = (
        "import sys, walkhome.safety.command.action_filter; sys.exit('scipy.signal' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
