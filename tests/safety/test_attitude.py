# SPDX-License-Identifier: MIT
"""Fall detection."""

import math

import pytest

from walkhome.safety.attitude import is_fallen

LIMITS = {"roll_limit_rad": math.pi / 3, "pitch_limit_rad": math.pi / 4}


@pytest.mark.parametrize(
    ("roll", "pitch", "fallen"),
    [(0.1, -0.1, False), (1.2, 0.0, True), (0.0, -1.2, True), (0.9, 0.0, False), (0.0, 0.9, True)],
)
def test_either_angle_beyond_its_own_limit_is_a_fall(roll, pitch, fallen):
    assert is_fallen(roll_rad=roll, pitch_rad=pitch, **LIMITS) is fallen


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_attitude_that_is_not_finite_is_a_fall(bad):
    assert is_fallen(roll_rad=bad, pitch_rad=0.0, **LIMITS)
    assert is_fallen(roll_rad=0.0, pitch_rad=bad, **LIMITS)


def test_a_limit_that_is_no_number_makes_everything_a_fall():
    assert is_fallen(roll_rad=0.0, pitch_rad=0.0, roll_limit_rad=math.nan, pitch_limit_rad=1.0)
    assert is_fallen(roll_rad=0.0, pitch_rad=0.0, roll_limit_rad=1.0, pitch_limit_rad=math.nan)
