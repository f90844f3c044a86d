# SPDX-License-Identifier: MIT
"""The Minitaur's body: motor order, signs, leg space, five-bar kinematics and limits.

Legs are front-left, back-left, front-right, back-right; leg i has motors 2i and 2i+1. Leg space is
(swing, extension): both motors turning together change the leg's length, turning apart swing the
foot fore and aft (Tan 2018, arXiv 1804.10332; Haarnoja 2019, arXiv 1812.11103). Functions are pure
and accept any number of leading dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import (
    MAX_TORQUE_NM,
    N_LEGS,
    N_MOTORS,
    OVERHEAT_S,
    OVERHEAT_TORQUE_NM,
)

FloatArray = npt.NDArray[np.float64]

LEG_NAMES = ("front_left", "back_left", "front_right", "back_right")

# s_i = (-1)^(i // 2): the motors of the right legs are mounted mirrored.
LEG_SIGN: FloatArray = np.array([1.0, 1.0, -1.0, -1.0])

# A motor angle times this is the URDF's joint angle (bullet3 minitaur.py, _motor_direction).
URDF_MOTOR_SIGN: FloatArray = np.array([-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0])

# Link lengths of the five-bar leg (bullet3: minitaur URDF and Raibert controller): crank, shank,
# and knee to toe. The often-quoted 0.1 and 0.2 m are nominal.
CRANK_M = 0.112
SHANK_M = 0.199
TOE_M = 0.2315


def leg_to_motor(swing_rad: FloatArray, extension_rad: FloatArray) -> FloatArray:
    """Convert leg space to motor angles: m1 = extension - s swing, m2 = extension + s swing.

    Args:
        swing_rad: (..., 4) rad, positive when the foot is toward the back.
        extension_rad: (..., 4) rad; the leg is straight at pi and folded at 0.

    Returns:
        (..., 8) motor angles, rad.
    """
    signed = LEG_SIGN * swing_rad
    out = np.empty((*signed.shape[:-1], N_MOTORS))
    out[..., 0::2] = extension_rad - signed
    out[..., 1::2] = extension_rad + signed
    return out


def motor_to_leg(motor_angle_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Convert motor angles to leg space; the inverse of `leg_to_motor`.

    Args:
        motor_angle_rad: (..., 8) rad.

    Returns:
        Swing and extension, each (..., 4) rad.
    """
    first, second = motor_angle_rad[..., 0::2], motor_angle_rad[..., 1::2]
    return LEG_SIGN * 0.5 * (second - first), 0.5 * (first + second)


def toe_position(
    swing_rad: FloatArray, extension_rad: FloatArray, toe_m: float = TOE_M
) -> tuple[FloatArray, FloatArray]:
    """Forward kinematics of the five-bar leg (bullet3, Raibert utility, whose x points backward).

    Args:
        swing_rad: any shape.
        extension_rad: the same shape.
        toe_m: distance from knee to toe, m; `SHANK_M` gives the point where both shanks meet, which
            is the foot of the URDF.

    Returns:
        x and z of the toe relative to the hip, m; body frame (x toward the head, z up).
    """
    alpha = np.arcsin(CRANK_M / SHANK_M * np.sin(extension_rad))
    back_m = toe_m * np.sin(alpha + swing_rad) - CRANK_M * np.sin(extension_rad + swing_rad)
    length_m = toe_m * np.cos(alpha + swing_rad) - CRANK_M * np.cos(extension_rad + swing_rad)
    return -back_m, -length_m


def toe_jacobian(
    swing_rad: FloatArray, extension_rad: FloatArray, toe_m: float = TOE_M
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Derivatives of `toe_position`: dx/dswing, dz/dswing, dx/dextension, dz/dextension, m/rad.

    Args:
        swing_rad: any shape.
        extension_rad: the same shape.
        toe_m: see `toe_position`.
    """
    lever = CRANK_M / SHANK_M
    alpha = np.arcsin(lever * np.sin(extension_rad))
    bends = lever * np.cos(extension_rad) / np.cos(alpha)  # dalpha/dextension
    toe, crank = alpha + swing_rad, extension_rad + swing_rad
    toe_x, toe_z = toe_m * np.cos(toe), toe_m * np.sin(toe)
    crank_x, crank_z = CRANK_M * np.cos(crank), CRANK_M * np.sin(crank)
    return (
        crank_x - toe_x,
        toe_z - crank_z,
        crank_x - bends * toe_x,
        bends * toe_z - crank_z,
    )


@dataclass(frozen=True, kw_only=True)
class Body:
    """Geometry, stance, action range and limits of a Minitaur-style robot.

    Attributes:
        name: identifies the body in saved policies.
        stance_swing_rad: swing of every leg in the stance.
        stance_extension_rad: extension of every leg in the stance.
        action_swing_rad: half width of the learned swing around the stance.
        action_extension_rad: half width of the learned extension around the stance.
        rate_limit_rad_s: largest rate of change of a commanded motor angle.
        kp: proportional gain, PWM duty per rad (Ha 2020: 0.5).
        kd: derivative gain, PWM duty per rad/s (Ha 2020: 0.005).
        footprint_m: largest horizontal extent, for workspace checks.
        swing_limit_rad: largest swing magnitude of any command.
        extension_min_rad: smallest extension of any command.
        extension_max_rad: largest extension of any command; the knee is near its singularity
            beyond it.
        torque_limit_nm: largest torque of a motor (60 A, bullet3 motor.py).
        overheat_torque_nm: a motor overheats when it holds more than this for `overheat_s`.
        overheat_s: see `overheat_torque_nm` (bullet3 minitaur.py: 2.45 N m for 1 s).
        hip_x_m: hips lie at +- this along the body's x axis.
        hip_y_m: hips lie at +- this along the body's y axis.
    """

    name: str
    stance_swing_rad: float
    stance_extension_rad: float
    action_swing_rad: float
    action_extension_rad: float
    rate_limit_rad_s: float
    kp: float
    kd: float
    footprint_m: float
    swing_limit_rad: float = np.pi
    extension_min_rad: float = 0.3
    extension_max_rad: float = 2.8
    torque_limit_nm: float = MAX_TORQUE_NM
    overheat_torque_nm: float = OVERHEAT_TORQUE_NM
    overheat_s: float = OVERHEAT_S
    hip_x_m: float = 0.21
    hip_y_m: float = 0.1

    def stance_motor_rad(self) -> FloatArray:
        """Motor angles of the stance, (8,) rad."""
        return leg_to_motor(
            np.full(N_LEGS, self.stance_swing_rad), np.full(N_LEGS, self.stance_extension_rad)
        )

    def action_to_motor(self, action: FloatArray) -> FloatArray:
        """Convert a normalised action to motor angles around the stance.

        Args:
            action: (..., 8) in [-1, 1]: four swings, then four extensions.

        Returns:
            (..., 8) motor angles, rad.
        """
        swing = self.stance_swing_rad + self.action_swing_rad * action[..., :N_LEGS]
        extension = self.stance_extension_rad + self.action_extension_rad * action[..., N_LEGS:]
        return leg_to_motor(swing, extension)

    def motor_to_action(self, motor_angle_rad: FloatArray) -> FloatArray:
        """Convert motor angles to the normalised action that commands them; not clipped.

        Args:
            motor_angle_rad: (..., 8) rad.

        Returns:
            (..., 8) action: four swings, then four extensions; outside [-1, 1] for angles outside
            the action range.
        """
        swing, extension = motor_to_leg(motor_angle_rad)
        return np.concatenate(
            [
                (swing - self.stance_swing_rad) / self.action_swing_rad,
                (extension - self.stance_extension_rad) / self.action_extension_rad,
            ],
            axis=-1,
        )
