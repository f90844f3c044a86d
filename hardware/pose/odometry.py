# SPDX-License-Identifier: MIT
"""Leg odometry: floor pose from encoders and IMU alone.

Feet on the ground stand still, so the body moves relative to them: v = -(dp + w x p), where p is a
foot in the body frame. Feet within 15 mm of the lowest one count as being on the ground. The pose
drifts (slip, falls, yaw) by a tenth of the distance or more while a robot learns: it is good for
seconds and for speed, but not as the only limit of a workspace.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import SHANK_M, Body, motor_to_leg, toe_position
from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.hardware.rotation import quaternion, roll_pitch_yaw, rotate, wrap_to_pi

FloatArray = npt.NDArray[np.float64]

STANDS_M = 0.015
MAX_TILT_RAD = 0.9  # beyond this the robot lies, and its feet carry nothing
MAX_GAP_S = 0.25  # motion during a longer gap is unknown and not integrated
_EPSILON_S = 1e-4


class LegOdometry:
    """`PoseSource` fed with states; starts at the origin with heading 0.

    Args:
        body: geometry of the legs.
        foot_m: distance from knee to foot, m.
    """

    def __init__(self, body: Body, foot_m: float = SHANK_M) -> None:
        self._foot_m = foot_m
        hip_x, hip_y = body.hip_x_m, body.hip_y_m
        self._hip_x = np.array([hip_x, -hip_x, hip_x, -hip_x])
        self._hip_y = np.array([hip_y, hip_y, -hip_y, -hip_y])
        self._pose: Pose2D | None = None
        self._yaw_start = 0.0

    def latest(self) -> Pose2D:
        """The pose at the newest state; not `ok` before the first."""
        return self._pose or Pose2D(0.0, 0.0, 0.0, -math.inf, ok=False)

    def update(self, state: RobotState) -> None:
        """Integrate the motion from the last state to this one; older states are ignored."""
        roll, pitch, yaw = roll_pitch_yaw(state.attitude_xyzw)
        if self._pose is None:
            self._yaw_start = yaw
            self._pose = Pose2D(0.0, 0.0, 0.0, state.time_s)
            return
        before = self._pose
        seconds = state.time_s - before.time_s
        if seconds <= 0.0:
            return
        heading = wrap_to_pi(yaw - self._yaw_start)
        x_m, y_m = before.x_m, before.y_m
        if seconds <= MAX_GAP_S and max(abs(roll), abs(pitch)) < MAX_TILT_RAD:
            forward, left = self.velocity(state, roll_rad=roll, pitch_rad=pitch)
            x_m += seconds * (forward * math.cos(heading) - left * math.sin(heading))
            y_m += seconds * (forward * math.sin(heading) + left * math.cos(heading))
        self._pose = Pose2D(x_m, y_m, heading, state.time_s)

    def velocity(
        self, state: RobotState, *, roll_rad: float, pitch_rad: float
    ) -> tuple[float, float]:
        """Velocity over the floor in the heading frame: forward and left, m/s."""
        swing, extension = motor_to_leg(state.motor_angle_rad)
        swing_rate, extension_rate = motor_to_leg(state.motor_velocity_rad_s)
        x, z = toe_position(swing, extension, self._foot_m)
        x_next, z_next = toe_position(
            swing + _EPSILON_S * swing_rate, extension + _EPSILON_S * extension_rate, self._foot_m
        )
        foot = np.stack([self._hip_x + x, self._hip_y, z], axis=-1)
        foot_rate = np.stack([x_next - x, np.zeros(4), z_next - z], axis=-1) / _EPSILON_S
        level = quaternion(roll_rad=roll_rad, pitch_rad=pitch_rad)
        heights = np.array([rotate(level, p)[2] for p in foot])
        stands = heights <= heights.min() + STANDS_M
        moved = -(foot_rate + np.cross(state.angular_velocity_rad_s, foot))[stands].mean(axis=0)
        forward, left, _ = rotate(level, moved)
        return float(forward), float(left)
