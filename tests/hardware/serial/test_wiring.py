# SPDX-License-Identifier: MIT
"""Conversion between a board's motor values and the body's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.body import motor_to_leg
from walkhome.hardware.serial.wiring import Wiring, jig_motor_rad, measured_zeros

eight = st.lists(st.floats(-50.0, 50.0), min_size=8, max_size=8)
wirings = st.builds(
    Wiring,
    st.permutations(range(8)).map(tuple),
    st.tuples(*[st.sampled_from([1.0, -1.0])] * 8),
    st.tuples(*[st.floats(-3.0, 3.0)] * 8),
)


def test_a_board_of_the_protocol_needs_none():
    angles = np.linspace(-1.0, 2.0, 8)
    np.testing.assert_array_equal(Wiring().body_angle(angles), angles)
    np.testing.assert_array_equal(Wiring().board_angle(angles), angles)


@given(wirings, eight)
def test_there_and_back(wiring, angles):
    back = wiring.body_angle(wiring.board_angle(np.array(angles)))
    np.testing.assert_allclose(back, angles, atol=1e-12)


@given(wirings, eight, eight)
def test_velocity_is_the_change_of_angle(wiring, angles, rates):
    """Velocities use order and sign but no zero, or a PD controller would push the wrong way."""
    first, rate = np.array(angles), np.array(rates)
    difference = wiring.body_angle(first + rate) - wiring.body_angle(first)
    np.testing.assert_allclose(difference, wiring.body_values(rate), atol=1e-9)


@given(wirings)
def test_in_the_jig_the_zeros_are_found(wiring):
    shown = wiring.board_angle(jig_motor_rad())
    found = measured_zeros(shown, Wiring(wiring.order, wiring.sign))
    np.testing.assert_allclose(found, wiring.zero_rad, atol=1e-9)


def test_the_jig_is_legs_straight_down():
    swing, extension = motor_to_leg(jig_motor_rad())
    np.testing.assert_allclose(swing, 0.0, atol=1e-12)
    np.testing.assert_allclose(extension, 0.5 * math.pi)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": (0, 0, 2, 3, 4, 5, 6, 7)},
        {"order": tuple(range(7))},
        {"sign": (1.0,) * 7 + (2.0,)},
        {"zero_rad": (math.nan,) * 8},
        {"zero_rad": (0.0,) * 7},
    ],
)
def test_what_is_no_wiring_is_refused(changes):
    with pytest.raises(ValueError, match="must"):
        Wiring(**changes)
