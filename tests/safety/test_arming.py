# SPDX-License-Identifier: MIT
"""Every check before arming can fail, alone and beside any other, and all are told at once."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from bodies import MINITAUR

from walkhome.hardware.body import leg_to_motor
from walkhome.hardware.robot import Fault, Pose2D, RobotState
from walkhome.hardware.rotation import quaternion, rotate_inverse
from walkhome.safety.arming import ArmingLimits, ArmingSnapshot, check

LEGS = leg_to_motor(np.zeros(4), np.full(4, 0.5))


def lying(time_s, roll=0.0, **changes):
    attitude = quaternion(roll_rad=roll)
    fields = {
        "time_s": time_s,
        "motor_angle_rad": LEGS,
        "motor_velocity_rad_s": np.zeros(8),
        "motor_torque_nm": np.zeros(8),
        "motor_temperature_c": np.full(8, 25.0),
        "attitude_xyzw": attitude,
        "angular_velocity_rad_s": np.zeros(3),
        "acceleration_m_s2": rotate_inverse(attitude, [0.0, 0.0, 9.81]),
        "battery_v": 16.0,
        "faults": Fault.NONE,
        "age_s": 0.0,
    }
    return RobotState(**{**fields, **changes})


def states(n=50, **changes):
    return [lying(0.01 * k, **changes) for k in range(n)]


GOOD = ArmingSnapshot(
    states=states(),
    lost=0,
    age_s=0.005,
    faults=Fault.NONE,
    board_zero_table=7,
    known_zero_table=7,
    robot_id="ours",
    kp=1.2,
    kd=0.02,
    kp_limit=2.0,
    kd_limit=0.1,
    valid_s=0.1,
    valid_limit_s=0.2,
    pose=Pose2D(0.0, 0.0, 0.0, 1.0),
    pose_age_s=0.01,
)

moving = [lying(0.01 * k, motor_angle_rad=LEGS + 0.01 * k) for k in range(50)]
wrong_leg = LEGS + np.array([0, 0, -2.0, 0, 0, 0, 0, 0])
BAD = {
    "TELEMETRY_FEW": {"states": states(49)},
    "TELEMETRY_OLD": {"age_s": 0.051},
    "LINK_LOSS": {"lost": 1},
    "ESTOP": {"estop_latched": "pressed"},
    "ESTOP_BOARD": {"faults": Fault.ESTOP},
    "IMU_LOST": {"faults": Fault.IMU},
    "OVERHEAT": {"faults": Fault.OVERHEAT},
    "FAULT_TIMEOUT": {"faults": Fault.TIMEOUT},
    "BROWN_OUT": {"faults": Fault.UNDERVOLTAGE},
    "SUPERVISOR": {"supervisor_alive": False},
    "CALIBRATION_MISSING": {"known_zero_table": None},
    "ZERO_TABLE": {"known_zero_table": 6},
    "GAINS": {"kp": 2.1},
    "VALIDITY": {"valid_s": 0.21},
    "POSE_MISSING": {"pose": None},
    "POSE_OLD": {"pose_age_s": 0.21},
    "POSE_BAD": {"pose": Pose2D(0.0, 0.0, 0.0, 1.0, ok=False)},
    "BATTERY": {"states": states(battery_v=13.9)},
    "TEMPERATURE": {"states": states(motor_temperature_c=np.full(8, 61.0))},
    "ENCODERS": {"states": moving},
    "IMU_GRAVITY": {"states": states(acceleration_m_s2=np.array([0.0, 0.0, 11.0]))},
    "IMU_AXES": {"states": states(acceleration_m_s2=np.array([0.0, 0.0, -9.81]))},
    "IMU_BIAS": {"states": states(angular_velocity_rad_s=np.array([0.0, 0.06, 0.0]))},
    "TILT": {"states": states(roll=0.7)},
    "ZERO_POSTURE": {"states": states(motor_angle_rad=wrong_leg)},
}

POSE = {"POSE_MISSING", "POSE_OLD", "POSE_BAD"}


def codes(snapshot, limits=None):
    return [finding.code for finding in check(snapshot, MINITAUR, limits)]


def test_a_good_robot_may_be_armed():
    assert codes(GOOD) == []


@pytest.mark.parametrize("code", BAD)
def test_each_one_alone(code):
    assert codes(replace(GOOD, **BAD[code])) == [code]


def may_both_be_wrong(first, second):
    """Not where both look at the same thing."""
    return not (BAD[first].keys() & BAD[second].keys() or {first, second} <= POSE)


@pytest.mark.parametrize(
    ("first", "second"),
    [pair for pair in itertools.combinations(BAD, 2) if may_both_be_wrong(*pair)],
)
def test_any_two_are_both_told(first, second):
    """No check hides another."""
    changed = replace(GOOD, **BAD[first], **BAD[second])
    assert set(codes(changed)) == {first, second}


def test_every_text_says_what_to_do():
    for code, changes in BAD.items():
        (finding,) = check(replace(GOOD, **changes), MINITAUR)
        assert ": " in finding.text or "robot doctor" in finding.text, code
        assert "\n" not in finding.text


@pytest.mark.parametrize(
    "changes",
    [
        {"states": states(battery_v=math.nan)},
        {"states": states(motor_temperature_c=np.full(8, math.nan))},
        {"states": states(acceleration_m_s2=np.full(3, math.nan))},
        {"states": states(angular_velocity_rad_s=np.full(3, math.nan))},
        {"age_s": math.nan},
        {"pose_age_s": math.nan},
        {"kp": math.nan},
        {"pose": Pose2D(math.nan, 0.0, 0.0, 1.0)},
        {"states": []},
    ],
)
def test_what_is_not_a_number_never_passes(changes):
    assert codes(replace(GOOD, **changes))


def test_what_a_person_has_to_mend_does_not_pass_by_itself():
    persons = {"ESTOP", "ESTOP_BOARD", "BATTERY", "ZERO_TABLE", "TILT", "CALIBRATION_MISSING"}
    for code in persons:
        (finding,) = check(replace(GOOD, **BAD[code]), MINITAUR)
        assert not finding.passes
    for code in {"POSE_OLD", "TELEMETRY_OLD", "IMU_BIAS", "TEMPERATURE"}:
        (finding,) = check(replace(GOOD, **BAD[code]), MINITAUR)
        assert finding.passes


def test_a_robot_that_fell_may_lie_as_it_fell():
    limits = ArmingLimits(tilt_max_rad=None, extension_rad=None)
    assert codes(replace(GOOD, states=states(roll=math.pi)), limits) == []
    assert codes(replace(GOOD, states=states(motor_angle_rad=wrong_leg)), limits) == []
