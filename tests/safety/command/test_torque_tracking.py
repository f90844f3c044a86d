# SPDX-License-Identifier: MIT
"""Which motors are dead, on made-up measurements."""

import numpy as np
import pytest

from walkhome.hardware.robot import Fault, MotorCommand, RobotState
from walkhome.safety.command.limits import motor_torque_nm
from walkhome.safety.command.torque_tracking import ASKED_NM, PATIENCE_S, TorqueTrackingMonitor

KP, KD = 1.0, 0.02


def state(time_s, torque_nm, velocity_rad_s=0.0):
    zeros = np.zeros(8)
    return RobotState(
        time_s=time_s,
        motor_angle_rad=zeros,
        motor_velocity_rad_s=np.full(8, velocity_rad_s),
        motor_torque_nm=np.asarray(torque_nm, dtype=float),
        motor_temperature_c=zeros,
        attitude_xyzw=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity_rad_s=np.zeros(3),
        acceleration_m_s2=np.zeros(3),
        battery_v=16.0,
        faults=Fault.NONE,
        age_s=0.0,
    )


def found(seconds, angle_rad, given, cap_nm=3.5, velocity_rad_s=0.0, period_s=0.02):
    """Who is found dead within so many seconds, and when."""
    obedience = TorqueTrackingMonitor()
    for k in range(round(seconds / period_s)):
        motor = obedience.untracked(state(k * period_s, given(k), velocity_rad_s))
        if motor is not None:
            return motor, k * period_s
        obedience.sent(MotorCommand(np.full(8, angle_rad), kp=KP, kd=KD, torque_cap_nm=cap_nm))
    return None


def asked_nm(angle_rad):
    zeros = np.zeros(8)
    return motor_torque_nm(np.full(8, angle_rad), zeros, zeros, KP, KD)


@pytest.mark.parametrize("motor", range(8))
@pytest.mark.parametrize("angle_rad", [0.5, -0.5])
def test_one_that_gives_nothing_is_found_in_time(motor, angle_rad):
    torque = asked_nm(angle_rad)
    assert np.abs(torque).min() > ASKED_NM
    torque[motor] = 0.0
    which, when_s = found(2.0, angle_rad, lambda k: torque)
    assert which == motor
    assert PATIENCE_S <= when_s <= PATIENCE_S + 0.05


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0, -1.0])
def test_one_that_strains_is_not_dead_whichever_way(share):
    assert found(3.0, 0.5, lambda k: share * asked_nm(0.5)) is None


def test_of_little_nothing_is_said():
    small_rad = 0.02
    assert np.abs(asked_nm(small_rad)).max() < ASKED_NM
    assert found(3.0, small_rad, lambda k: np.zeros(8)) is None
    assert found(3.0, 0.5, lambda k: np.zeros(8), cap_nm=0.35) is None  # right after arming
    assert found(3.0, 0.5, lambda k: np.zeros(8), velocity_rad_s=20.0) is None


def test_now_and_then_is_not_dead():
    torque = asked_nm(0.5)
    assert found(5.0, 0.5, lambda k: torque * (k % 3 != 0)) is None


def test_states_that_stand_still_or_come_late_prove_nothing():
    assert found(5.0, 0.5, lambda k: np.zeros(8), period_s=0.06) is None
    obedience = TorqueTrackingMonitor()
    for _ in range(100):
        assert obedience.untracked(state(1.0, np.zeros(8))) is None
        obedience.sent(MotorCommand(np.full(8, 0.5), kp=KP, kd=KD))


def test_it_begins_anew():
    obedience = TorqueTrackingMonitor()
    for k in range(round(PATIENCE_S / 0.02)):
        assert obedience.untracked(state(k * 0.02, np.zeros(8))) is None
        obedience.sent(MotorCommand(np.full(8, 0.5), kp=KP, kd=KD))
    obedience.reset()
    assert obedience.untracked(state(0.9, np.zeros(8))) is None
