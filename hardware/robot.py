# SPDX-License-Identifier: MIT
"""The contract between the host and a robot: state, command, pose, stop, and their errors.

`sim.twin.PyBulletRobot` implements `Robot` in process, `hardware.serial.board.SerialRobot` on a
serial port. The caller drives either the same way: `command`, then `read`, once per control period.

Conventions: SI units. World frame: x forward at the start, y left, z up. Body frame: x toward the
head, y left, z up. Roll is positive with the right side down, pitch with the nose down, yaw
counter-clockwise. Times are seconds of a monotonic clock (of simulated time in the twin).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.constants import MAX_TORQUE_NM

FloatArray = npt.NDArray[np.float64]


class RobotError(Exception):
    """Base of all errors of a robot; the message says what, where and what to do next.

    Attributes:
        code: fault code, a row of `safety.faults.matrix`.
    """

    code: str = "unknown"


class LinkLost(RobotError):  # noqa: N818 - the field says "link lost"
    """The robot does not answer: the port is gone, or telemetry has stopped."""

    code = "link_lost"


class LinkDamaged(LinkLost):
    """Too many received frames are damaged; the link is not reliable."""

    code = "link_damaged"


class Implausible(RobotError):  # noqa: N818 - a reading, not a programming error
    """The sensors report impossible values: not finite, or far outside their range."""

    code = "implausible"


class RobotStopped(RobotError):  # noqa: N818 - says what happened
    """The robot has switched off its motors by itself, or is not armed; the message says why.

    Args:
        text: the message.
        code: cause, as in `RobotError.code`.
    """

    def __init__(self, text: str = "", code: str = "unknown") -> None:
        self.code = code
        super().__init__(text)


class NotFit(RobotError):  # noqa: N818 - says what it is
    """The host is not fit to keep driving the robot, e.g. it is too late; the message says why.

    Args:
        text: the message.
        code: cause, as in `RobotError.code`.
    """

    def __init__(self, text: str, code: str) -> None:
        self.code = code
        super().__init__(text)


class PoseLost(RobotError):  # noqa: N818 - says what happened
    """The pose of the robot on the floor is unknown."""

    code = "pose_lost"


class Fault(enum.IntFlag):
    """Fault bits of a robot, independent of the wire protocol (`BoardFault` is the wire's)."""

    NONE = 0
    OVERHEAT = 1
    UNDERVOLTAGE = 2
    TIMEOUT = 4
    IMU = 8
    ESTOP = 16


class Stop(enum.Enum):
    """How to stop: SETTLE damps the motors, then switches them off; CUT is zero torque at once."""

    SETTLE = "settle"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class RobotState:
    """All sensor readings at one instant. The state owns its arrays; nothing writes to them later.

    Attributes:
        time_s: time of measurement.
        motor_angle_rad: (8,) float64, order and signs of `hardware.body`.
        motor_velocity_rad_s: (8,) float64.
        motor_torque_nm: (8,) float64, as the board estimates it.
        motor_temperature_c: (8,) float64, degrees C.
        attitude_xyzw: (4,) float64 unit quaternion, body to world.
        angular_velocity_rad_s: (3,) float64, body frame.
        acceleration_m_s2: (3,) float64 specific force, body frame (+9.81 on z at rest).
        battery_v: battery voltage.
        faults: fault bits that the robot reports.
        age_s: time from measurement to `read`.
    """

    time_s: float
    motor_angle_rad: FloatArray
    motor_velocity_rad_s: FloatArray
    motor_torque_nm: FloatArray
    motor_temperature_c: FloatArray
    attitude_xyzw: FloatArray
    angular_velocity_rad_s: FloatArray
    acceleration_m_s2: FloatArray
    battery_v: float
    faults: Fault
    age_s: float


@dataclass(frozen=True, slots=True)
class MotorCommand:
    """Target angles and gains for the PD controllers of the board.

    Attributes:
        angle_rad: (8,) float64 targets, order and signs of `hardware.body`.
        kp: proportional gain, PWM duty per rad (the unit of the Minitaur's firmware).
        kd: derivative gain, PWM duty per rad/s.
        valid_s: how long the board may hold this command before it times out.
        torque_cap_nm: largest torque magnitude that the board may apply.
    """

    angle_rad: FloatArray
    kp: float = field(kw_only=True)
    kd: float = field(kw_only=True)
    valid_s: float = field(default=0.1, kw_only=True)
    torque_cap_nm: float = field(default=MAX_TORQUE_NM, kw_only=True)

    def to_dict(self) -> dict[str, object]:
        """The command as JSON values; floats survive exactly."""
        return {
            "angle_rad": self.angle_rad.tolist(),
            "kp": self.kp,
            "kd": self.kd,
            "valid_s": self.valid_s,
            "torque_cap_nm": self.torque_cap_nm,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> MotorCommand:
        """Rebuild a command from `to_dict`.

        Raises:
            KeyError: a field is missing.
        """
        return cls(
            np.array(state["angle_rad"], dtype=np.float64),
            kp=float(state["kp"]),
            kd=float(state["kd"]),
            valid_s=float(state["valid_s"]),
            torque_cap_nm=float(state["torque_cap_nm"]),
        )


@dataclass(frozen=True, slots=True)
class Pose2D:
    """Position and heading of the robot on the floor, world frame.

    Attributes:
        x_m: forward at the start.
        y_m: left at the start.
        yaw_rad: heading, counter-clockwise positive.
        time_s: time of measurement.
        ok: False while the pose is unknown or not credible; the other values mean nothing then.
    """

    x_m: float
    y_m: float
    yaw_rad: float
    time_s: float
    ok: bool = True


class PoseSource(Protocol):
    """Source of floor poses, apart from the robot; reward and workspace use it, policies don't."""

    def latest(self) -> Pose2D:
        """The newest pose, with `ok=False` while there is none; never waits and never raises."""
        ...


class Robot(Protocol):
    """A four-legged robot, real or simulated.

    One thread, the control thread, calls all methods; implementations take no lock. No method
    waits. After an exception of `read` or `command` (`ValueError` excepted) a real robot is
    disarmed: it sends nothing more until it has been armed again.
    """

    @property
    def body(self) -> Body:
        """Geometry, gains and limits of the robot; constant."""
        ...

    def read(self) -> RobotState:
        """Return the newest state; angles in the order and signs of `hardware.body`, SI units.

        Repeated calls may return the same measurement with a larger `age_s`.

        Raises:
            LinkLost: the robot does not answer, or telemetry has stopped.
            LinkDamaged: too many frames are damaged (a `LinkLost`).
            Implausible: several readings in a row are impossible.
            RobotStopped: the robot has switched off its motors by itself, or the supervisor
                reports trouble.
        """
        ...

    def command(self, command: MotorCommand) -> MotorCommand:
        """Send target angles; the robot holds them for `command.valid_s`, then damps and goes limp.

        Returns:
            The command that was sent, after the robot's own limits on angle, gains, torque cap and
            validity. A real robot also reduces the torque cap right after arming.

        Raises:
            LinkLost: the port is gone; the command may not have arrived.
            RobotStopped: the robot is not armed; nothing was sent.
            ValueError: not (8,) finite targets and finite gains; nothing was sent.
        """
        ...

    def stop(self, how: Stop) -> None:
        """Stop the motors: SETTLE damps them for about 0.5 s, CUT is zero torque at once.

        Never raises: without a link, the time-out of the board stops the motors. A real robot is
        disarmed afterwards; after CUT its board also latches the emergency stop until it is
        cleared.
        """
        ...

    def close(self) -> None:
        """Stop the robot with SETTLE if it is driven, and release it; safe to call twice."""
        ...
