# SPDX-License-Identifier: MIT
"""Quaternions and angles as pure functions.

Quaternions are (x, y, z, w) and rotate from the body frame to the world frame. Roll, pitch and yaw
have the signs of `hardware.robot`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def roll_pitch_yaw(quaternion_xyzw: FloatArray) -> tuple[float, float, float]:
    """Roll, pitch and yaw (rad) of a unit quaternion (4,): rotations about x, then y, then z."""
    x, y, z, w = (float(v) for v in quaternion_xyzw)
    roll = math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
    pitch = math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x))))
    yaw = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
    return roll, pitch, yaw


def quaternion(
    *, roll_rad: float = 0.0, pitch_rad: float = 0.0, yaw_rad: float = 0.0
) -> FloatArray:
    """Unit quaternion (4,) of roll, pitch and yaw; the inverse of `roll_pitch_yaw`."""
    cr, sr = math.cos(roll_rad / 2), math.sin(roll_rad / 2)
    cp, sp = math.cos(pitch_rad / 2), math.sin(pitch_rad / 2)
    cy, sy = math.cos(yaw_rad / 2), math.sin(yaw_rad / 2)
    return np.array(
        [
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        ]
    )


def world_z_in_body(quaternion_xyzw: FloatArray) -> FloatArray:
    """Up direction of the world in the body frame, (3,); (0, 0, 1) when level."""
    x, y, z, w = (float(v) for v in quaternion_xyzw)
    return np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])


def rotate(
    quaternion_xyzw: Sequence[float] | FloatArray, vector: Sequence[float] | FloatArray
) -> FloatArray:
    """Rotate a (3,) vector from the body frame to the world frame."""
    x, y, z, w = quaternion_xyzw
    return np.array(_rotated(float(x), float(y), float(z), float(w), vector))


def rotate_inverse(
    quaternion_xyzw: Sequence[float] | FloatArray, vector: Sequence[float] | FloatArray
) -> FloatArray:
    """Rotate a (3,) vector from the world frame to the body frame."""
    return np.array(rotated_inverse(quaternion_xyzw, vector))


def rotated_inverse(
    quaternion_xyzw: Sequence[float] | FloatArray, vector: Sequence[float] | FloatArray
) -> tuple[float, float, float]:
    """As `rotate_inverse`, but returns three floats, which is faster where no array is needed."""
    x, y, z, w = quaternion_xyzw
    return _rotated(-float(x), -float(y), -float(z), float(w), vector)


def _rotated(
    x: float, y: float, z: float, w: float, vector: Sequence[float] | FloatArray
) -> tuple[float, float, float]:
    a, b, c = float(vector[0]), float(vector[1]), float(vector[2])
    # v + w t + q x t with t = 2 q x v; written out because np.cross costs 20 us per call.
    t, u, v = 2.0 * (y * c - z * b), 2.0 * (z * a - x * c), 2.0 * (x * b - y * a)
    return a + w * t + (y * v - z * u), b + w * u + (z * t - x * v), c + w * v + (x * u - y * t)


def wrap_to_pi(angle_rad: float) -> float:
    """The same angle in [-pi, pi)."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi
