# SPDX-License-Identifier: MIT
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.safety.attitude import attitude_costs, attitude_margin, is_fallen

angles = st.floats(-4.0, 4.0)


@given(roll=angles, pitch=angles)
def test_margin_is_negative_exactly_when_a_cost_is_positive(roll, pitch):
    costs = attitude_costs(roll, pitch)
    assert costs.shape == (2,)
    assert (costs >= 0).all()
    assert (attitude_margin(roll, pitch) < 0) == bool((costs > 0).any())


def test_costs_in_their_order_and_vectorised():
    roll = np.array([0.0, 0.6, 0.0])
    pitch = np.array([0.1, 0.0, -0.4])
    expected = [[0.0, 0.0], [0.0, 0.6 - math.pi / 6], [0.4 - math.pi / 12, 0.0]]
    np.testing.assert_allclose(attitude_costs(roll, pitch), expected)
    np.testing.assert_allclose(
        attitude_margin(roll, pitch),
        [math.pi / 12 - 0.1, math.pi / 6 - 0.6, math.pi / 12 - 0.4],
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_unreadable_attitude_is_the_worst(bad):
    assert is_fallen(bad, 0.0)
    assert is_fallen(0.0, bad)
    assert attitude_costs(bad, 0.0)[1] > 2.0
    assert attitude_costs(0.0, bad)[0] > 2.0
    assert attitude_margin(0.0, bad) < 0
    assert attitude_margin(bad, 0.0) < 0


def test_fallen_by_either_angle():
    assert not is_fallen(0.1, -0.1)
    assert is_fallen(1.2, 0.0)
    assert is_fallen(0.0, -1.2)
    assert is_fallen(0.2, 0.0, roll_limit_rad=0.1)
    assert is_fallen(0.0, 0.0, roll_limit_rad=math.nan)
