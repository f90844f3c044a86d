# SPDX-License-Identifier: MIT
"""Poses from other programs: which are accepted, and which are refused; leg odometry."""

import json
import math
import socket
from dataclasses import replace

import numpy as np
import pytest
from bodies import MINITAUR
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.body import leg_to_motor
from walkhome.hardware.pose.guard import (
    MAX_AGE_S,
    NOWHERE,
    TRUST_AGAIN_S,
    PoseGuard,
    PoseSourceRefused,
    SocketPose,
    from_message,
    to_message,
)
from walkhome.hardware.pose.odometry import LegOdometry
from walkhome.hardware.robot import Fault, Pose2D, RobotState
from walkhome.hardware.rotation import quaternion


class Told:
    """A pose source that returns what the test sets."""

    def __init__(self):
        self.pose, self.now_s = NOWHERE, 10.0
        self.guard = PoseGuard(self, lambda: self.now_s)

    def latest(self):
        return self.pose

    def say(self, x_m=0.0, y_m=0.0, yaw_rad=0.0, after_s=0.01, ok=True):
        self.now_s += after_s
        self.pose = Pose2D(x_m, y_m, yaw_rad, self.now_s, ok)
        return self.guard.latest().ok


@pytest.fixture
def told():
    return Told()


def test_a_walk_is_believed(told):
    assert all(told.say(0.5 * 0.01 * k, 0.0, 0.01 * k) for k in range(200))
    assert sum(told.guard.refusals.values()) == 0


def test_a_turn_through_pi_is_no_jump(told):
    assert told.say(0.0, 0.0, math.pi - 0.01)
    assert told.say(0.0, 0.0, -math.pi + 0.01)


def test_an_old_pose_is_refused(told):
    assert told.say()
    told.now_s += MAX_AGE_S - 0.001
    assert told.guard.latest().ok
    told.now_s += 0.002
    assert not told.guard.latest().ok
    assert told.say()
    assert told.guard.refusals["old"] == 1


def test_a_pose_from_the_future_is_refused(told):
    told.say()
    told.pose = replace(told.pose, time_s=told.now_s + 1.0)
    assert not told.guard.latest().ok


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_is_refused(told, bad):
    assert not told.say(x_m=bad)
    assert not told.say(yaw_rad=bad)
    assert not told.say(ok=False)
    assert told.guard.refusals["unknown"] == 3


@pytest.mark.parametrize("jump", [{"x_m": 0.5}, {"y_m": -2.0}, {"yaw_rad": 1.0}])
def test_a_jump_is_refused_until_the_source_agrees_with_itself(told, jump):
    assert told.say()
    accepted = [told.say(**jump) for _ in range(round(TRUST_AGAIN_S / 0.01) + 5)]
    assert accepted[0] is False
    assert sum(not ok for ok in accepted) == pytest.approx(TRUST_AGAIN_S / 0.01, abs=1)
    assert accepted[-1] is True


def test_a_source_that_jumps_on_and_on_is_never_believed(told):
    told.say()
    assert not any(told.say(x_m=float(k % 2)) for k in range(1, 300))


@given(st.binary(max_size=300))
def test_no_bytes_can_hurt(data):
    pose = from_message(data)
    assert pose is None or isinstance(pose, Pose2D)


@given(*[st.floats(-1e6, 1e6)] * 4, st.booleans())
def test_a_message_says_the_pose(x, y, yaw, time_s, ok):
    assert from_message(to_message(Pose2D(x, y, yaw, time_s, ok))) == Pose2D(x, y, yaw, time_s, ok)


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"x_m": 1.0, "y_m": 2.0, "yaw_rad": 0.0},
        {"x_m": "1", "y_m": 2.0, "yaw_rad": 0.0, "time_s": 1.0},
        {"x_m": True, "y_m": 2.0, "yaw_rad": 0.0, "time_s": 1.0},
    ],
)
def test_what_is_no_pose_is_none(said):
    assert from_message(json.dumps(said).encode()) is None


def test_a_socket_gives_the_newest(tmp_path):
    source = SocketPose(tmp_path / "pose")
    assert not source.latest().ok
    assert (tmp_path / "pose").stat().st_mode & 0o077 == 0  # nobody else may send
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for time_s in (1.0, 3.0, 2.0):
            message = to_message(Pose2D(time_s, 0.0, 0.0, time_s))
            sender.sendto(message, str(tmp_path / "pose"))
        sender.sendto(b"nonsense", str(tmp_path / "pose"))
    assert source.latest().time_s == 3.0
    assert (source.received, source.refused) == (3, 1)
    with pytest.raises(PoseSourceRefused, match="in use"):
        SocketPose(tmp_path / "pose")
    source.close()
    source.close()
    assert not (tmp_path / "pose").exists()


def test_a_socket_left_by_a_dead_process_is_taken_over(tmp_path):
    dead = SocketPose(tmp_path / "pose")
    dead._socket.close()
    SocketPose(tmp_path / "pose").close()


def test_a_place_where_no_socket_can_be_is_refused(tmp_path):
    with pytest.raises(PoseSourceRefused, match="--pose"):
        SocketPose(tmp_path / "none" / "pose")
    with pytest.raises(PoseSourceRefused, match="--pose"):
        SocketPose(tmp_path / ("x" * 200))


# -- odometry --------------------------------------------------------------------------------------


def state(time_s, swing, extension, swing_rate, extension_rate=None, yaw=0.0, gyro=(0.0, 0.0, 0.0)):
    rates = np.zeros(4) if extension_rate is None else extension_rate
    return RobotState(
        time_s=time_s,
        motor_angle_rad=leg_to_motor(swing, extension),
        motor_velocity_rad_s=leg_to_motor(swing_rate, rates),
        motor_torque_nm=np.zeros(8),
        motor_temperature_c=np.zeros(8),
        attitude_xyzw=quaternion(yaw_rad=yaw),
        angular_velocity_rad_s=np.array(gyro),
        acceleration_m_s2=np.zeros(3),
        battery_v=16.0,
        faults=Fault.NONE,
        age_s=0.0,
    )


def push(odometry, yaw):
    """Two legs on the floor swing back from -0.2 to 0.2; the other two are in the air."""
    swings = np.linspace(-0.2, 0.2, 101)
    extension = np.array([2.0, 1.0, 1.0, 2.0])
    for k, swing in enumerate(swings):
        both = np.array([swing, 0.0, 0.0, swing])
        rate = np.array([0.4, 5.0, -5.0, 0.4])
        odometry.update(state(0.01 * k, both, extension, rate, yaw=yaw))
    return odometry.latest()


@pytest.mark.parametrize("yaw", [0.0, 0.7, -2.0])
def test_a_foot_that_stands_moves_the_body(yaw):
    """The body moves forward as far as the foot moves back: l (sin 0.2 - sin -0.2)."""
    odometry = LegOdometry(MINITAUR)
    odometry.update(state(-0.01, np.zeros(4), np.full(4, 2.0), np.zeros(4)))
    pose = push(odometry, yaw)
    way = math.hypot(pose.x_m, pose.y_m)
    leg_m = 0.224  # hip to foot at extension 2.0
    assert way == pytest.approx(2 * leg_m * math.sin(0.2), rel=0.05)
    assert math.atan2(pose.y_m, pose.x_m) == pytest.approx(yaw, abs=0.03)
    assert pose.yaw_rad == pytest.approx(yaw)


def test_nothing_is_made_up_for_a_gap():
    odometry = LegOdometry(MINITAUR)
    legs = (np.zeros(4), np.full(4, 2.0), np.full(4, 3.0))
    odometry.update(state(0.0, *legs))
    odometry.update(state(5.0, *legs))
    assert (odometry.latest().x_m, odometry.latest().time_s) == (0.0, 5.0)
    assert not LegOdometry(MINITAUR).latest().ok
