# SPDX-License-Identifier: MIT
"""The observation's layout is a contract with every saved policy."""

import numpy as np
from bodies import MINITAUR

from walkhome.hardware.robot import Fault, RobotState
from walkhome.hardware.rotation import quaternion
from walkhome.robot.mdp.observation import FRAME_SIZE, ObservationLayout, Observer


def state(angle=0.0, roll=0.0, pitch=0.0, rates=(0.0, 0.0, 0.0)):
    return RobotState(
        time_s=0.0,
        motor_angle_rad=MINITAUR.stance_motor_rad() + angle,
        motor_velocity_rad_s=np.zeros(8),
        motor_torque_nm=np.zeros(8),
        motor_temperature_c=np.zeros(8),
        attitude_xyzw=quaternion(roll_rad=roll, pitch_rad=pitch, yaw_rad=1.0),
        angular_velocity_rad_s=np.array(rates),
        acceleration_m_s2=np.zeros(3),
        battery_v=16.0,
        faults=Fault.NONE,
        age_s=0.0,
    )


def test_one_frame_is_laid_out_as_documented():
    observer = Observer(ObservationLayout(frames=1), MINITAUR)
    action = np.linspace(-1, 1, 8)
    frame = observer.reset(state(0.25, 0.1, -0.2, (1.0, 2.0, 3.0)), action)
    assert np.allclose(frame[:8], 0.5)
    assert np.allclose(frame[8:10], [0.2, -0.4])
    assert np.allclose(frame[10:13], [0.25, 0.5, 0.75])
    assert np.array_equal(frame[13:], action)


def test_yaw_is_not_in_it():
    observer = Observer(ObservationLayout(frames=1), MINITAUR)
    here = observer.reset(state(), np.zeros(8))
    turned = state()
    turned.attitude_xyzw[:] = quaternion(yaw_rad=-2.0)
    assert np.allclose(here, observer.reset(turned, np.zeros(8)))


def test_history_runs_from_old_to_new_and_is_a_copy():
    observer = Observer(ObservationLayout(frames=3), MINITAUR)
    first = observer.reset(state(), np.zeros(8))
    assert first.shape == (3 * FRAME_SIZE,)
    for value in (1.0, 2.0):
        last = observer.observe(state(), np.full(8, value))
    assert np.array_equal(last.reshape(3, -1)[:, -1], [0.0, 1.0, 2.0])
    assert not first.any()
