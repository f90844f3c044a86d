# SPDX-License-Identifier: MIT
"""The contract between the host and a robot: state, command, pose, stop.

`sim.twin` implements `Robot` in process; a board on a serial port implements the same. SI units.
World frame: x forward at start, y left, z up. Body frame: x toward the head, y left, z up. Roll
right side down > 0, pitch nose down > 0, yaw counter-clockwise > 0. Times are monotonic seconds.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body
from walkhome.hardware.constants import MAX_TORQUE_NM

FloatArray = npt.NDArray[np.float64]


class RobotError(Exception):
    """A robot can't do what was asked; the message says what, where and what to do next.

    Attributes:
        code: of the fault, as `safety.faults.matrix` knows it.
    """

    code: str = "unknown"


class LinkLost(RobotError):  # noqa: N818 - the field says "link lost"
    """The robot does not answer any more."""

    code = "link_lost"


class LinkDamaged(LinkLost):
    """So much of what arrives is damaged that the rest can't be relied on."""

    code = "link_damaged"


class Implausible(RobotError):  # noqa: N818 - a reading, not a programming error
    """A reading that no real robot gives: not finite, or far outside its range."""

    code = "implausible"


class RobotStopped(RobotError):  # noqa: N818 - says what happened
    """The robot has let its motors go by itself, or was never armed; the message says why.

    Args:
        text: the message.
        code: why, as `RobotError.code`.
    """

    def __init__(self, text: str = "", code: str = "unknown") -> None:
        self.code = code
        super().__init__(text)


class NotFit(RobotError):  # noqa: N818 - says what it is
    """The host must not drive the robot on as it does; the message says why.

    Args:
        text: the message.
        code: why, as `RobotError.code`.
    """

    def __init__(self, text: str, code: str) -> None:
        self.code = code
        super().__init__(text)


class PoseLost(RobotError):  # noqa: N818 - says what happened
    """Nobody knows any more where the robot stands."""

    code = "pose_lost"


class Fault(enum.IntFlag):
    """Fault bits of a robot, as its board reports them."""

    NONE = 0
    OVERHEAT = 1
    UNDERVOLTAGE = 2
    TIMEOUT = 4
    IMU = 8
    ESTOP = 16


class Stop(enum.Enum):
    """How to stop: SETTLE sits down damped and then goes limp, CUT is zero torque now."""

    SETTLE = "settle"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class RobotState:
    """What the sensors say at one instant. Arrays belong to the state and are never written again.

    Attributes:
        time_s: when it was measured, monotonic.
        motor_angle_rad: (8,) float64, `hardware.body` order and signs.
        motor_velocity_rad_s: (8,) float64.
        motor_torque_nm: (8,) float64, as the board estimates it from PWM.
        motor_temperature_c: (8,) float64.
        attitude_xyzw: (4,) float64 unit quaternion, body to world.
        angular_velocity_rad_s: (3,) float64, body frame.
        acceleration_m_s2: (3,) float64 specific force, body frame (+9.81 z at rest).
        battery_v: battery voltage.
        faults: what the board complains of.
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
    """Target angles for the board's PD controllers.

    Attributes:
        angle_rad: (8,) float64 targets, `hardware.body` order and signs.
        kp: proportional gain, PWM duty per rad (as the Minitaur's firmware has it).
        kd: derivative gain, PWM duty per rad/s.
        valid_s: how long the board may hold this command.
        torque_cap_nm: largest torque magnitude the board may apply.
    """

    angle_rad: FloatArray
    kp: float
    kd: float
    valid_s: float = 0.1
    torque_cap_nm: float = MAX_TORQUE_NM

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it, exactly."""
        return {
            "angle_rad": self.angle_rad.tolist(),
            "kp": self.kp,
            "kd": self.kd,
            "valid_s": self.valid_s,
            "torque_cap_nm": self.torque_cap_nm,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> MotorCommand:
        """The inverse of `to_dict`."""
        return cls(
            np.array(state["angle_rad"], dtype=np.float64),
            float(state["kp"]),
            float(state["kd"]),
            float(state["valid_s"]),
            float(state["torque_cap_nm"]),
        )


@dataclass(frozen=True, slots=True)
class Pose2D:
    """Where the robot stands on the floor, world frame; `ok` is False while nobody knows."""

    x_m: float
    y_m: float
    yaw_rad: float
    time_s: float
    ok: bool = True


class PoseSource(Protocol):
    """Tells the robot's place on the floor, apart from the robot: reward and workspace use it."""

    def latest(self) -> Pose2D:
        """The newest pose."""
        ...


class Robot(Protocol):
    """A four-legged robot, real or simulated."""

    @property
    def body(self) -> Body:
        """Its body: motors, geometry, limits."""
        ...

    def read(self) -> RobotState:
        """The newest state.

        Raises:
            LinkLost: the robot does not answer.
            Implausible: the reading can't be true.
        """
        ...

    def command(self, command: MotorCommand) -> MotorCommand:
        """Send targets; returns what was really sent, after the robot's own limits."""
        ...

    def stop(self, how: Stop) -> None:
        """Stop all motion."""
        ...

    def close(self) -> None:
        """Let go of the robot; it is limp afterwards."""
        ...
