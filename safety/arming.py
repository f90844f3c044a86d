# SPDX-License-Identifier: MIT
"""Checks before arming: each finding has a code and a text.

    ArmingSnapshot --> check() --> list of Finding; empty: the robot may be armed

`check` is a pure function, so it can be tested without a robot, and it always makes every check.
The board's own time-out and its answer to ARM can't be checked here: the board session tests them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from walkhome.hardware.body import Body, motor_to_leg
from walkhome.hardware.constants import GRAVITY_M_S2
from walkhome.hardware.robot import Fault, Pose2D, RobotState
from walkhome.hardware.rotation import world_z_in_body


@dataclass(frozen=True)
class ArmingLimits:
    """Limits of the checks; the battery's default is for the Minitaur's 4 cells.

    Attributes:
        min_frames: least number of telemetry frames in the snapshot.
        max_loss: largest share of missing frames.
        max_age_s: largest age of the newest frame.
        battery_min_v: lowest battery voltage; below, a run would end in a brown-out.
        temperature_max_c: highest temperature of a motor.
        tilt_max_rad: largest tilt of the trunk; None after a fall, when any tilt is allowed.
        gravity_error_m_s2: largest error of the measured acceleration's magnitude at rest.
        gravity_direction_rad: largest angle between the measured acceleration and the attitude's
            upward direction at rest.
        gyro_bias_rad_s: largest mean angular rate at rest, per axis.
        encoder_spread_rad: largest standard deviation of a motor's angle at rest.
        extension_rad: smallest and largest extension of a leg at power-on (limp legs under the
            trunk fold to about 0); None after a fall, which may wind them up.
        swing_max_rad: largest swing of a leg at power-on.
        pose_max_age_s: largest age of a pose.
    """

    min_frames: int = 50
    max_loss: float = 0.01
    max_age_s: float = 0.05
    battery_min_v: float = 14.0
    temperature_max_c: float = 60.0
    tilt_max_rad: float | None = 0.6
    gravity_error_m_s2: float = 0.7
    gravity_direction_rad: float = 0.35
    gyro_bias_rad_s: float = 0.05
    encoder_spread_rad: float = 0.03
    extension_rad: tuple[float, float] | None = (-0.2, math.pi + 0.2)
    swing_max_rad: float = math.pi
    pose_max_age_s: float = 0.2


@dataclass(frozen=True)
class ArmingSnapshot:
    """Measurements and settings of a robot at rest, before arming.

    Attributes:
        states: fresh readings, oldest first.
        lost: number of missing frames.
        age_s: age of the newest state; infinite if there is none.
        faults: faults that the board reports after a request to clear them.
        board_zero_table: id of the zero table that the board uses.
        known_zero_table: id of the zero table in the calibration; None without a calibration.
        robot_id: name of the robot, from its board.
        kp: largest proportional gain that commands will use, PWM per rad.
        kd: largest derivative gain that commands will use, PWM per rad/s.
        kp_limit: the board's limit of `kp`.
        kd_limit: the board's limit of `kd`.
        valid_s: validity that commands will carry.
        valid_limit_s: the board's limit of `valid_s`.
        pose: newest pose; None without a source.
        pose_age_s: age of `pose`; infinite without one.
        estop_latched: why an emergency stop holds; empty if none does.
        supervisor_alive: whether the supervisor runs; None if the robot is used without one.
    """

    states: Sequence[RobotState]
    lost: int
    age_s: float
    faults: Fault
    board_zero_table: int
    known_zero_table: int | None
    robot_id: str
    kp: float
    kd: float
    kp_limit: float
    kd_limit: float
    valid_s: float
    valid_limit_s: float
    pose: Pose2D | None = None
    pose_age_s: float = math.inf
    estop_latched: str = ""
    supervisor_alive: bool | None = None


@dataclass(frozen=True)
class Finding:
    """A reason not to arm a robot.

    Attributes:
        code: stable identifier.
        text: what is wrong, and what to do.
        passes: whether it may disappear without action, so that waiting makes sense.
    """

    code: str
    text: str
    passes: bool = False


def check(
    snapshot: ArmingSnapshot, body: Body, limits: ArmingLimits | None = None
) -> list[Finding]:
    """Make all checks before arming.

    Args:
        snapshot: the robot at rest.
        body: its geometry.
        limits: limits of the checks; `ArmingLimits()` if None.

    Returns:
        All reasons not to arm; empty if the robot may be armed.
    """
    limits = limits or ArmingLimits()
    return [
        *_telemetry(snapshot, limits),
        *_latches(snapshot),
        *_zero_table(snapshot),
        *_commands(snapshot),
        *_pose(snapshot, limits),
        *(_readings(snapshot.states, body, limits) if snapshot.states else ()),
    ]


def _telemetry(s: ArmingSnapshot, limits: ArmingLimits) -> list[Finding]:
    out = []
    if len(s.states) < limits.min_frames:
        out.append(
            Finding(
                "TELEMETRY_FEW",
                f"only {len(s.states)} good telemetry frames, {limits.min_frames} needed: check "
                "the cable, or the board's rate",
                passes=True,
            )
        )
    if not s.age_s <= limits.max_age_s:
        out.append(
            Finding(
                "TELEMETRY_OLD",
                f"newest telemetry is {s.age_s * 1e3:.0f} ms old, {limits.max_age_s * 1e3:.0f} "
                "allowed: check cable and the port's latency (robot doctor)",
                passes=True,
            )
        )
    total = len(s.states) + s.lost
    if total and s.lost / total > limits.max_loss:
        out.append(
            Finding(
                "LINK_LOSS",
                f"{100.0 * s.lost / total:.1f} % of the frames are missing, "
                f"{100.0 * limits.max_loss:g} allowed: check cable and shielding",
                passes=True,
            )
        )
    return out


def _latches(s: ArmingSnapshot) -> list[Finding]:
    out = []
    if s.estop_latched:
        out.append(Finding("ESTOP", f"emergency stop: {s.estop_latched}"))
    if s.faults & Fault.ESTOP:
        out.append(
            Finding(
                "ESTOP_BOARD",
                "the board's emergency stop is latched: look why, then robot doctor --release",
            )
        )
    if s.faults & Fault.IMU:
        out.append(Finding("IMU_LOST", "the board has lost its IMU: check its cable"))
    if s.faults & Fault.OVERHEAT:
        out.append(Finding("OVERHEAT", "a motor is switched off: let it cool", passes=True))
    if s.faults & Fault.TIMEOUT:
        out.append(
            Finding(
                "FAULT_TIMEOUT",
                "the board's time-out does not clear: switch it off and on",
                passes=True,
            )
        )
    if s.faults & Fault.UNDERVOLTAGE:
        out.append(Finding("BROWN_OUT", "the board reports an empty battery: charge it"))
    if s.supervisor_alive is False:
        out.append(Finding("SUPERVISOR", "the supervisor does not run: start again", passes=True))
    return out


def _zero_table(s: ArmingSnapshot) -> list[Finding]:
    if s.known_zero_table is None:
        return [
            Finding(
                "CALIBRATION_MISSING",
                f"robot {s.robot_id!r} was never calibrated here: robot calibrate",
            )
        ]
    if s.known_zero_table != s.board_zero_table:
        return [
            Finding(
                "ZERO_TABLE",
                f"the board uses zero table {s.board_zero_table}, robot {s.robot_id!r} was "
                f"calibrated with {s.known_zero_table}: robot calibrate, or flash the right table",
            )
        ]
    return []


def _commands(s: ArmingSnapshot) -> list[Finding]:
    out = []
    for name, wanted, limit in (("kp", s.kp, s.kp_limit), ("kd", s.kd, s.kd_limit)):
        if not 0.0 <= wanted <= limit:
            out.append(
                Finding(
                    "GAINS",
                    f"{name} {wanted:g} is beyond the board's limit {limit:g}: lower robot.{name}",
                )
            )
    if not 0.0 < s.valid_s <= s.valid_limit_s:
        out.append(
            Finding(
                "VALIDITY",
                f"commands would be valid for {s.valid_s * 1e3:.0f} ms, the board holds at most "
                f"{s.valid_limit_s * 1e3:.0f}: raise control.rate_hz",
            )
        )
    return out


def _pose(s: ArmingSnapshot, limits: ArmingLimits) -> list[Finding]:
    if s.pose is None:
        return [
            Finding(
                "POSE_MISSING",
                "no pose source, so the workspace can't be supervised: start one, or name another "
                "with --pose",
                passes=True,
            )
        ]
    out = []
    if not s.pose_age_s <= limits.pose_max_age_s:
        out.append(
            Finding(
                "POSE_OLD",
                f"the newest pose is {s.pose_age_s * 1e3:.0f} ms old, "
                f"{limits.pose_max_age_s * 1e3:.0f} allowed: look at the pose source",
                passes=True,
            )
        )
    elif not (s.pose.ok and all(map(math.isfinite, (s.pose.x_m, s.pose.y_m, s.pose.yaw_rad)))):
        # An old pose is never ok; POSE_OLD reports it already.
        out.append(
            Finding("POSE_BAD", "the pose source is lost: help it to find the robot", passes=True)
        )
    return out


def _readings(states: Sequence[RobotState], body: Body, limits: ArmingLimits) -> list[Finding]:
    newest = states[-1]
    angles = np.array([state.motor_angle_rad for state in states])
    gyro = np.array([state.angular_velocity_rad_s for state in states]).mean(axis=0)
    force = np.array([state.acceleration_m_s2 for state in states]).mean(axis=0)
    battery_v = min(state.battery_v for state in states)
    hottest_c = float(newest.motor_temperature_c.max())
    out = []
    if not battery_v >= limits.battery_min_v:
        out.append(
            Finding(
                "BATTERY",
                f"battery at {battery_v:.1f} V, {limits.battery_min_v:g} needed: charge it",
            )
        )
    if not hottest_c <= limits.temperature_max_c:
        out.append(
            Finding(
                "TEMPERATURE",
                f"hottest motor at {hottest_c:.0f} C, {limits.temperature_max_c:g} allowed: "
                "let it cool",
                passes=True,
            )
        )
    spread = float(angles.std(axis=0).max())
    if not spread <= limits.encoder_spread_rad:
        motor = int(angles.std(axis=0).argmax())
        out.append(
            Finding(
                "ENCODERS",
                f"motor {motor} does not stand still ({spread:.3f} rad): let the robot lie, or "
                "check its encoder",
                passes=True,
            )
        )
    return [*out, *_imu(newest, gyro, force, limits), *_posture(angles, body, limits)]


def _imu(
    newest: RobotState,
    gyro: np.typing.NDArray[np.float64],
    force: np.typing.NDArray[np.float64],
    limits: ArmingLimits,
) -> list[Finding]:
    out = []
    length = float(np.linalg.norm(force))
    up = world_z_in_body(newest.attitude_xyzw)
    if not abs(length - GRAVITY_M_S2) <= limits.gravity_error_m_s2:
        out.append(
            Finding(
                "IMU_GRAVITY",
                f"the accelerometer measures {length:.2f} m/s2 at rest: let the robot lie, or "
                "check the IMU's scale",
                passes=True,
            )
        )
    elif not float(force @ up) / length >= math.cos(limits.gravity_direction_rad):
        out.append(
            Finding(
                "IMU_AXES",
                "accelerometer and attitude disagree about the vertical: check the IMU's axes "
                "(docs/protocol.md: body frame, +9.81 on z at rest)",
            )
        )
    rate = float(np.abs(gyro).max())
    if not rate <= limits.gyro_bias_rad_s:
        out.append(
            Finding(
                "IMU_BIAS",
                f"the gyro measures {rate:.3f} rad/s at rest: let the robot lie, or calibrate "
                "the gyro",
                passes=True,
            )
        )
    tilt = math.acos(max(-1.0, min(1.0, float(up[2]))))
    if limits.tilt_max_rad is not None and not tilt <= limits.tilt_max_rad:
        out.append(
            Finding(
                "TILT",
                f"the trunk is tilted by {math.degrees(tilt):.0f} degrees, "
                f"{math.degrees(limits.tilt_max_rad):.0f} allowed: put the robot on its belly",
            )
        )
    return out


def _posture(
    angles: np.typing.NDArray[np.float64], body: Body, limits: ArmingLimits
) -> list[Finding]:
    if limits.extension_rad is None:
        return []
    swing, extension = motor_to_leg(angles.mean(axis=0))
    low, high = limits.extension_rad
    bad = (extension < low) | (extension > high) | (np.abs(swing) > limits.swing_max_rad)
    if not bad.any():
        return []
    legs = ", ".join(str(leg) for leg in np.flatnonzero(bad))
    return [
        Finding(
            "ZERO_POSTURE",
            f"by its encoders, leg {legs} is in an impossible position: put the legs under the "
            "robot; if they are there, robot calibrate",
        )
    ]
