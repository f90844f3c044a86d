# SPDX-License-Identifier: MIT
"""A motor is relieved before its board would switch it off, and only then."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from walkhome.safety.command.derating import RELIEF, TorqueDerating

LIMIT_NM, TIME_S, CAP_NM, PERIOD_S = 2.45, 1.0, 3.5, 0.02


def strain():
    return TorqueDerating(LIMIT_NM, TIME_S, CAP_NM)


@given(arrays(float, (200, 8), elements=st.floats(0.0, 0.94 * LIMIT_NM)))
def test_who_does_not_strain_is_left_alone(torques):
    guard = strain()
    for k, torque in enumerate(torques):
        assert (guard.caps(torque, k * PERIOD_S) == CAP_NM).all()


@given(arrays(float, 8, elements=st.floats(0.0, CAP_NM)), st.integers(20, 100))
def test_no_board_ever_switches_off_a_motor_that_obeys(wanted, rate_hz):
    """The board's own rule, on a motor that gives what is wanted up to its cap."""
    guard, hot_s, caps = strain(), np.zeros(8), np.full(8, CAP_NM)
    for k in range(10 * rate_hz):
        torque = np.minimum(wanted, caps)
        caps = guard.caps(torque, k / rate_hz)
        hot_s = np.where(torque > LIMIT_NM, hot_s + 1.0 / rate_hz, 0.0)
        assert (hot_s <= TIME_S).all()


def test_each_motor_for_itself_and_not_for_long():
    guard = strain()
    torque = np.zeros(8)
    torque[3] = -3.0
    relieved = [guard.caps(torque, k * PERIOD_S) for k in range(100)]
    weak = [k for k, caps in enumerate(relieved) if caps[3] < CAP_NM]
    assert all((np.delete(caps, 3) == CAP_NM).all() for caps in relieved)
    assert relieved[weak[0]][3] == RELIEF * LIMIT_NM
    assert 0.45 <= weak[0] * PERIOD_S <= 0.6
    assert weak == list(range(weak[0], 100))  # until it is seen to be relieved
    torque[3] = 1.0
    after = [guard.caps(torque, (100 + k) * PERIOD_S)[3] for k in range(10)]
    assert 1 <= sum(cap < CAP_NM for cap in after) <= 5  # and then it has its torque again


def test_a_torque_that_nobody_knows_is_too_much():
    guard = strain()
    torque = np.full(8, np.nan)
    assert (guard.caps(torque, 0.0) == CAP_NM).all()
    assert (guard.caps(torque, 0.7) < CAP_NM).all()
