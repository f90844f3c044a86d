# SPDX-License-Identifier: MIT
"""Leg space, signs, five-bar kinematics and the action scaling."""

from dataclasses import replace

import numpy as np
import pytest
from bodies import MINITAUR
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from walkhome.hardware.body import (
    CRANK_M,
    LEG_SIGN,
    SHANK_M,
    TOE_M,
    URDF_MOTOR_SIGN,
    leg_to_motor,
    motor_to_leg,
    toe_jacobian,
    toe_position,
)

angles = st.floats(-3.0, 3.0)
legs = arrays(np.float64, 4, elements=angles)
motors = arrays(np.float64, 8, elements=angles)
actions = arrays(np.float64, 8, elements=st.floats(-1.0, 1.0))


@given(legs, legs)
def test_leg_space_round_trip(swing, extension):
    back = motor_to_leg(leg_to_motor(swing, extension))
    np.testing.assert_allclose(back, (swing, extension), atol=1e-12)


@given(motors)
def test_motor_round_trip(motor):
    np.testing.assert_allclose(leg_to_motor(*motor_to_leg(motor)), motor, atol=1e-12)


@given(legs, legs)
def test_left_and_right_are_mirrored(swing, extension):
    swing[2:], extension[2:] = swing[:2], extension[:2]
    motor = leg_to_motor(swing, extension).reshape(4, 2)
    # The right legs' motors sit the other way round: first and second change places.
    np.testing.assert_array_equal(motor[:2], motor[2:, ::-1])


def test_leg_space_by_hand():
    # facts of the model: m1 = extension - s swing, m2 = extension + s swing, s = +1 left, -1 right.
    motor = leg_to_motor(np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2.0, 1.0, 2.0]))
    np.testing.assert_allclose(motor, [0.9, 1.1, 1.8, 2.2, 1.3, 0.7, 2.4, 1.6])
    assert LEG_SIGN.tolist() == [1, 1, -1, -1]
    assert URDF_MOTOR_SIGN.tolist() == [-1, -1, -1, -1, 1, 1, 1, 1]


@given(actions)
def test_action_round_trip(action):
    back = MINITAUR.motor_to_action(MINITAUR.action_to_motor(action))
    np.testing.assert_allclose(back, action, atol=1e-12)


def test_actions_are_swings_then_extensions_around_the_stance():
    body = replace(MINITAUR, stance_swing_rad=0.1, action_swing_rad=0.4, action_extension_rad=0.2)
    action = np.array([1.0, 0, 0, 0, 0, 0, 0, -1.0])
    swing, extension = motor_to_leg(body.action_to_motor(action))
    np.testing.assert_allclose(swing, [0.5, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(extension, [2.0, 2.0, 2.0, 1.8])
    np.testing.assert_array_equal(body.action_to_motor(np.zeros(8)), body.stance_motor_rad())


def test_batches_work_like_single_calls():
    batch = np.random.default_rng(0).uniform(-1, 1, (5, 3, 8))
    motor = MINITAUR.action_to_motor(batch)
    assert motor.shape == (5, 3, 8)
    np.testing.assert_array_equal(motor[2, 1], MINITAUR.action_to_motor(batch[2, 1]))


def test_published_lengths():
    # bullet3 Raibert utilities: l1 = 0.112, l2 = 0.199, shank to toe 0.2315 (not 0.1 and 0.2).
    assert (CRANK_M, SHANK_M, TOE_M) == (0.112, 0.199, 0.2315)


def test_toe_of_known_postures():
    # Cranks up and shanks down (extension 0), and all in line (extension pi).
    x, z = toe_position(np.zeros(2), np.array([0.0, np.pi]))
    np.testing.assert_allclose(x, 0.0, atol=1e-12)
    np.testing.assert_allclose(z, [-(TOE_M - CRANK_M), -(TOE_M + CRANK_M)])


@given(st.floats(-1.0, 1.0), st.floats(0.3, 2.8))
def test_foot_turns_with_the_swing(swing, extension):
    foot = toe_position(np.array(swing), np.array(extension), toe_m=SHANK_M)
    assert np.arctan2(-foot[0], -foot[1]) == pytest.approx(swing, abs=1e-9)  # backward > 0
    straight = toe_position(np.array(0.0), np.array(extension), toe_m=SHANK_M)
    assert np.hypot(*foot) == pytest.approx(-straight[1])


@given(st.floats(0.3, 2.7))
def test_more_extension_is_a_longer_leg(extension):
    _, z = toe_position(np.zeros(2), np.array([extension, extension + 0.1]))
    assert z[1] < z[0] < 0.0


@given(
    arrays(np.float64, 4, elements=st.floats(-1.5, 1.5)),
    arrays(np.float64, 4, elements=st.floats(0.3, 2.8)),
)
def test_the_jacobian_is_the_derivative_of_the_toe_s_place(swing, extension):
    step = 1e-6
    by_swing = np.subtract(
        toe_position(swing + step, extension), toe_position(swing - step, extension)
    )
    by_extension = np.subtract(
        toe_position(swing, extension + step), toe_position(swing, extension - step)
    )
    known = np.concatenate([by_swing, by_extension]) / (2.0 * step)
    np.testing.assert_allclose(toe_jacobian(swing, extension), known, atol=1e-7)
