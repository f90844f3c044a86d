# SPDX-License-Identifier: MIT
"""Limits every motor command before it leaves the host: angle, rate of change, estimated torque.

The limits apply in this order. The torque limit is last: it only moves a target toward the measured
angle, so where the result breaks the other two limits, it does so toward less force (a robot that
is pushed far from its target gives way). A command that is not finite is refused, not clamped:
`np.clip` passes NaN, and the caller must know that its policy is broken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import Body, leg_to_motor, motor_to_leg
from walkhome.hardware.constants import (
    CURRENT_TABLE_A,
    N_MOTORS,
    RESISTANCE_OHM,
    TORQUE_CONSTANT_NM_A,
    TORQUE_TABLE_NM,
)
from walkhome.hardware.robot import RobotError, RobotState

FloatArray = npt.NDArray[np.float64]

SUPPLY_V = 16.0

# Larger angles are clipped to this before any arithmetic, so that no finite input can overflow.
LARGEST_ANGLE_RAD = 1e6
LARGEST_GAIN = 100.0
WEAKEST_GAIN = 1e-6  # PWM per rad; below, no target can produce a relevant torque
# The conversion to leg space and back rounds; violations smaller than this are ignored.
ROUNDING_RAD = 1e-9


class UnsafeCommand(RobotError):  # noqa: N818 - a verdict on the command, not a programming error
    """A command that can't be limited to a safe one; nothing was sent."""

    code = "bad_action"


@dataclass(frozen=True, slots=True)
class LimitReport:
    """Number of legs or motors that each limit changed in one command.

    Attributes:
        angle_legs: legs whose swing or extension was outside the body's range.
        rate_legs: legs whose target moved too fast.
        torque_motors: motors whose estimated torque was above the cap.
    """

    angle_legs: int = 0
    rate_legs: int = 0
    torque_motors: int = 0

    @property
    def changed(self) -> bool:
        """Whether a limit acted; if not, the command sent equals the requested one, bit for bit."""
        return bool(self.angle_legs or self.rate_legs or self.torque_motors)


class CommandLimiter:
    """Keeps motor targets within the body's limits; it remembers the last one for the rate limit.

    Attributes:
        body: source of the angle, rate and torque limits.
        period_s: time between two commands, for the rate limit.
        torque_cap_nm: largest estimated torque magnitude.
    """

    def __init__(self, body: Body, period_s: float, torque_cap_nm: float | None = None) -> None:
        """The torque cap defaults to the body's; call `reset` before the first `limit`.

        Raises:
            ValueError: a period or torque cap that is not positive.
        """
        cap_nm = body.torque_limit_nm if torque_cap_nm is None else torque_cap_nm
        if not (0.0 < period_s < np.inf and 0.0 < cap_nm < np.inf):
            raise ValueError(f"period_s {period_s} and torque_cap_nm {cap_nm} must be positive")
        self.body = body
        self.period_s = period_s
        self.torque_cap_nm = cap_nm
        self._last_rad: FloatArray = body.stance_motor_rad()

    def reset(self, motor_angle_rad: FloatArray) -> None:
        """Start the rate limit at the measured angles, (8,) rad; they may be outside the range.

        Raises:
            UnsafeCommand: the angles are not finite or have another shape.
        """
        self._last_rad = _finite(motor_angle_rad, "measured angles").copy()

    def limit(
        self,
        target_rad: FloatArray,
        state: RobotState,
        kp: float,
        kd: float,
        caps_nm: FloatArray | None = None,
    ) -> tuple[FloatArray, LimitReport]:
        """Limit the targets of one command.

        Args:
            target_rad: (8,) requested motor angles.
            state: the newest measurement.
            kp: proportional gain the motors will use, PWM per rad.
            kd: derivative gain, PWM per rad/s.
            caps_nm: (8,) torque caps that are lower than `torque_cap_nm`; None for none.

        Returns:
            The (8,) motor angles to send, a new array, and what was changed. They are within the
            angle limits
            unless the last command (or the pull toward the measured angle) was outside them.

        Raises:
            UnsafeCommand: the target or the measurement is not finite, or a gain is out of range.
        """
        asked = _finite(target_rad, "target")
        angle = _finite(state.motor_angle_rad, "measured angles")
        velocity = _finite(state.motor_velocity_rad_s, "measured velocities")
        if not (0.0 <= kp <= LARGEST_GAIN and 0.0 <= kd <= LARGEST_GAIN):
            raise UnsafeCommand(
                f"gains kp {kp}, kd {kd} must lie in [0, {LARGEST_GAIN}]; check them"
            )
        in_range, angle_legs = self._limit_angle(asked)
        slow, rate_legs = self._limit_rate(in_range)
        caps = np.full(N_MOTORS, self.torque_cap_nm)
        if caps_nm is not None:
            caps = np.minimum(caps, caps_nm)
        safe = limit_torque(slow, angle, velocity, kp, kd, caps)
        torque_motors = int((safe != slow).sum())
        self._last_rad = safe
        return safe.copy(), LimitReport(angle_legs, rate_legs, torque_motors)

    def state_dict(self) -> dict[str, FloatArray]:
        """A copy of the last limited command: `last_rad`, (8,) rad."""
        return {"last_rad": self._last_rad.copy()}

    def load_state_dict(self, state: dict[str, FloatArray]) -> None:
        """Restore what `state_dict` returned."""
        self.reset(state["last_rad"])

    def _limit_angle(self, motor_rad: FloatArray) -> tuple[FloatArray, int]:
        body = self.body
        swing, extension = motor_to_leg(motor_rad)
        outside = (
            (np.abs(swing) > body.swing_limit_rad + ROUNDING_RAD)
            | (extension < body.extension_min_rad - ROUNDING_RAD)
            | (extension > body.extension_max_rad + ROUNDING_RAD)
        )
        clipped = leg_to_motor(
            np.clip(swing, -body.swing_limit_rad, body.swing_limit_rad),
            np.clip(extension, body.extension_min_rad, body.extension_max_rad),
        )
        # Legs inside keep their exact bits: the trip through leg space rounds.
        return np.where(np.repeat(outside, 2), clipped, motor_rad), int(outside.sum())

    def _limit_rate(self, motor_rad: FloatArray) -> tuple[FloatArray, int]:
        # Both motors of a leg are slowed by the same factor. Then the target stays on the straight
        # line in leg space, which can't leave the angle limits if both its ends are inside.
        step = motor_rad - self._last_rad
        largest = np.abs(step).reshape(-1, 2).max(axis=1)
        allowed = self.body.rate_limit_rad_s * self.period_s
        fast = largest > allowed
        factor = np.where(fast, allowed / np.maximum(largest, allowed), 1.0)
        slowed = self._last_rad + np.repeat(factor, 2) * step
        return np.where(np.repeat(fast, 2), slowed, motor_rad), int(fast.sum())


def limit_torque(
    target_rad: FloatArray,
    angle_rad: FloatArray,
    velocity_rad_s: FloatArray,
    kp: float,
    kd: float,
    cap_nm: FloatArray,
) -> FloatArray:
    """Move targets toward the measured angles until the estimated torques are within the caps.

    Args:
        target_rad: (8,) requested motor angles.
        angle_rad: (8,) measured motor angles.
        velocity_rad_s: (8,) measured motor velocities.
        kp: proportional gain, PWM per rad.
        kd: derivative gain, PWM per rad/s.
        cap_nm: (8,) largest torque magnitudes.

    Returns:
        (8,) rad; `target_rad` itself if no torque exceeds its cap.
    """
    current = motor_current_a(target_rad, angle_rad, velocity_rad_s, kp, kd)
    cap_a = np.interp(cap_nm, TORQUE_TABLE_NM, CURRENT_TABLE_A)
    over = np.abs(current) > cap_a * (1.0 + 1e-9)
    if kp < WEAKEST_GAIN or not over.any():
        return target_rad
    # The target whose current is the cap, but never beyond the measured angle: an excess that
    # is left there comes from damping and back-EMF, which only brake.
    wanted_pwm = (
        np.sign(current) * cap_a * RESISTANCE_OHM + TORQUE_CONSTANT_NM_A * velocity_rad_s
    ) / SUPPLY_V
    pulled = angle_rad + (wanted_pwm + kd * velocity_rad_s) / kp
    low, high = np.minimum(target_rad, angle_rad), np.maximum(target_rad, angle_rad)
    return np.where(over, np.clip(pulled, low, high), target_rad)


def motor_current_a(
    target_rad: FloatArray, angle_rad: FloatArray, velocity_rad_s: FloatArray, kp: float, kd: float
) -> FloatArray:
    """Current of the Minitaur's motors under PD control in PWM units (bullet3 motor.py).

    Args:
        target_rad: (..., 8).
        angle_rad: (..., 8) measured.
        velocity_rad_s: (..., 8) measured.
        kp: PWM per rad.
        kd: PWM per rad/s.

    Returns:
        (..., 8) A; positive turns the motor toward larger angles.
    """
    pwm = np.clip(kp * (target_rad - angle_rad) - kd * velocity_rad_s, -1.0, 1.0)
    volts = SUPPLY_V * pwm - TORQUE_CONSTANT_NM_A * velocity_rad_s
    return np.asarray(volts / RESISTANCE_OHM, dtype=np.float64)


def motor_torque_nm(
    target_rad: FloatArray, angle_rad: FloatArray, velocity_rad_s: FloatArray, kp: float, kd: float
) -> FloatArray:
    """Motor torque in N m, from `motor_current_a` and the measured table of torque over current."""
    current = motor_current_a(target_rad, angle_rad, velocity_rad_s, kp, kd)
    torque = np.sign(current) * np.interp(np.abs(current), CURRENT_TABLE_A, TORQUE_TABLE_NM)
    return np.asarray(torque, dtype=np.float64)


def _finite(value: FloatArray, what: str) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (N_MOTORS,):
        raise UnsafeCommand(f"{what}: expected shape ({N_MOTORS},), got {array.shape}")
    if not np.isfinite(array).all():
        raise UnsafeCommand(
            f"{what}: not finite, {array}; the command was not sent, stop the robot"
        )
    return np.clip(array, -LARGEST_ANGLE_RAD, LARGEST_ANGLE_RAD)
