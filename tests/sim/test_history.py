# SPDX-License-Identifier: MIT
"""Samples, their signs, and reading them with a latency."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.sim.history import SIGN, History, RawSample, Sample

DT_S = 0.002
numbers = st.floats(-1e3, 1e3)


def sample_at(time_s):
    """A sample whose values all equal the time; the attitude is level."""
    joints = [(sign * time_s, -sign * time_s) for sign in SIGN]
    torque = [sign * 2.0 * time_s for sign in SIGN]
    three = [time_s] * 3
    return RawSample(joints, torque, [0.0, 0.0, 0.0, 1.0], three, three, three)


def history_until(time_s, longest_s=0.02):
    """A history of samples from time 0."""
    history = History(longest_s=longest_s, dt_s=DT_S)
    history.fill(sample_at(0.0))
    for step in range(1, round(time_s / DT_S) + 1):
        history.add(sample_at(step * DT_S))
    return history


@given(st.floats(0.0, 0.02))
def test_a_sensor_is_read_as_it_was_a_latency_ago(latency_s):
    history = history_until(0.1)
    ago = history.latency(latency_s)
    sample = history.sample(ago).read()
    was_s = pytest.approx(0.1 - latency_s, abs=1e-8)
    assert sample.angle_rad == [was_s] * 8
    assert [-speed for speed in sample.velocity_rad_s] == [was_s] * 8
    assert [torque / 2.0 for torque in sample.torque_nm] == [was_s] * 8
    assert list(sample.position_m) == [was_s] * 3
    felt = history.joints(ago)
    assert [joint[0] for joint in felt] == [
        sign * angle for sign, angle in zip(SIGN, sample.angle_rad, strict=True)
    ]


def test_nothing_is_older_than_the_oldest():
    history = history_until(0.1, longest_s=0.004)
    oldest = history.sample(history.latency(1.0)).read()
    assert oldest.angle_rad[0] == pytest.approx(0.1 - 3 * DT_S)


@given(st.lists(numbers, min_size=24, max_size=24))
def test_signs_turn_there_and_back(values):
    three = [1.0, 2.0, 3.0]
    sample = Sample(values[:8], values[8:16], values[16:], [0.0, 0.0, 0.0, 1.0], *[three] * 3)
    assert RawSample.of(sample).read() == sample


def test_attitudes_next_to_each_other_are_on_one_sheet():
    history = history_until(0.01)
    turned = history.newest._replace(quaternion_xyzw=[0.0, 0.0, -0.1, -0.99])
    history.add(turned)
    assert history.newest.quaternion_xyzw == [0.0, 0.0, 0.1, 0.99]


@pytest.mark.parametrize("field", range(6))
def test_one_number_that_is_none_is_found(field):
    parts = list(sample_at(1.0))
    parts[field] = [(0.0, math.nan), *parts[0][1:]] if field == 0 else [math.nan, *parts[field][1:]]
    assert sample_at(1.0).is_finite()
    assert not RawSample(*parts).is_finite()


def test_goes_on_from_its_state_and_refuses_that_of_another_latency():
    history = history_until(0.1)
    other = History(longest_s=0.02, dt_s=DT_S)
    other.load_state_dict(history.state_dict())
    assert other.state_dict() == history.state_dict()
    np.testing.assert_array_equal(
        other.sample(other.latency(0.013)).read().angle_rad,
        history.sample(history.latency(0.013)).read().angle_rad,
    )
    with pytest.raises(ValueError, match="needs 7; resume with the configuration"):
        History(longest_s=0.01, dt_s=DT_S).load_state_dict(history.state_dict())
