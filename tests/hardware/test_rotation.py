# SPDX-License-Identifier: MIT
"""Quaternions and the signs of roll, pitch and yaw."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from walkhome.hardware.rotation import (
    quaternion,
    roll_pitch_yaw,
    rotate,
    rotate_inverse,
    world_z_in_body,
    wrap_to_pi,
)

roll_or_yaw = st.floats(-3.1, 3.1)
pitches = st.floats(-1.5, 1.5)
vectors = arrays(np.float64, 3, elements=st.floats(-10.0, 10.0))


@given(roll_or_yaw, pitches, roll_or_yaw)
def test_angles_round_trip(roll, pitch, yaw):
    unit = quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw)
    assert np.linalg.norm(unit) == pytest.approx(1.0)
    assert roll_pitch_yaw(unit) == pytest.approx((roll, pitch, yaw), abs=1e-9)


@given(roll_or_yaw, pitches, roll_or_yaw, vectors)
def test_rotation_round_trip_and_length(roll, pitch, yaw, vector):
    unit = quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw)
    turned = rotate(unit, vector)
    np.testing.assert_allclose(rotate_inverse(unit, turned), vector, atol=1e-9)
    assert np.linalg.norm(turned) == pytest.approx(np.linalg.norm(vector), abs=1e-9)


@given(roll_or_yaw, pitches, roll_or_yaw, vectors)
def test_rotation_is_the_matrix_product(roll, pitch, yaw, vector):
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    expected = about_z @ about_y @ about_x @ vector
    np.testing.assert_allclose(
        rotate(quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw), vector), expected, atol=1e-9
    )


@given(roll_or_yaw, pitches, roll_or_yaw)
def test_up_in_the_body(roll, pitch, yaw):
    unit = quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=yaw)
    np.testing.assert_allclose(
        world_z_in_body(unit), rotate_inverse(unit, np.array([0.0, 0.0, 1.0])), atol=1e-12
    )


def test_signs():
    nose, left = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    assert rotate(quaternion(roll_rad=0.3), -left)[2] < 0  # roll > 0: right side down
    assert rotate(quaternion(pitch_rad=0.3), nose)[2] < 0  # pitch > 0: nose down
    assert rotate(quaternion(yaw_rad=0.3), nose)[1] > 0  # yaw > 0: counter-clockwise


@given(st.floats(-100.0, 100.0))
def test_wrapping_keeps_the_direction(angle):
    wrapped = wrap_to_pi(angle)
    assert -math.pi <= wrapped < math.pi
    assert math.cos(wrapped) == pytest.approx(math.cos(angle), abs=1e-9)
    assert math.sin(wrapped) == pytest.approx(math.sin(angle), abs=1e-9)
