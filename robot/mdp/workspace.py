# SPDX-License-Identifier: MIT
"""The rectangle on the floor that the robot stays in, centred where it was put down."""

from __future__ import annotations

import math
from dataclasses import dataclass

from walkhome.hardware.robot import Pose2D
from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.config.schema import WorkspaceConfig

STRAY_M = 0.3  # half a robot
OUTWARD_M = 0.1  # further out than at the start: it is not on its way home


@dataclass(frozen=True)
class Workspace:
    """A rectangle around the origin of the world frame.

    Attributes:
        half_length_m: extent along x.
        half_width_m: extent along y.
        centre_radius_m: closer than this to the centre, no direction leads home.
        margin_m: strip along the edge in which no roll-out walks further out; at most a
            quarter of the smaller half width. 0: the paper's, which only ends at the edge.
    """

    half_length_m: float
    half_width_m: float
    centre_radius_m: float
    margin_m: float = 0.0

    def contains(self, pose: Pose2D) -> bool:
        """Whether the robot's middle is inside."""
        return abs(pose.x_m) <= self.half_length_m and abs(pose.y_m) <= self.half_width_m

    def left(self, pose: Pose2D, start: Pose2D) -> bool:
        """Whether a roll-out has left the workspace.

        A stand-up may roll the robot over the edge. A roll-out that starts outside is on its way
        home: it has left only once it is `STRAY_M` further out than it began.
        """
        if self.contains(start):
            return not self.contains(pose)
        return self._excess_m(pose) > self._excess_m(start) + STRAY_M

    def turns_back(self, pose: Pose2D, start: Pose2D) -> bool:
        """Whether a roll-out ends here, because it would leave the workspace soon.

        The next one walks home. A fast robot crosses the room in one roll-out (at 1 m/s, 4 m in 4
        s), so the scheduler alone, which chooses at its start, can't keep it in (issue 2).
        """
        margin_m = min(self.margin_m, 0.25 * min(self.half_length_m, self.half_width_m))
        reach_m = self._reach_m(pose)
        return margin_m > 0.0 and reach_m > max(-margin_m, self._reach_m(start) + OUTWARD_M)

    def _reach_m(self, pose: Pose2D) -> float:
        """How far beyond the edge; negative inside."""
        return max(abs(pose.x_m) - self.half_length_m, abs(pose.y_m) - self.half_width_m)

    def _excess_m(self, pose: Pose2D) -> float:
        return max(self._reach_m(pose), 0.0)

    @classmethod
    def of(cls, config: WorkspaceConfig) -> Workspace:
        """The configured one."""
        return cls(
            config.half_length_m, config.half_width_m, config.centre_radius_m, config.margin_m
        )

    def bearing_to_centre_rad(self, pose: Pose2D) -> float:
        """Where the centre lies in the robot's own frame; 0 ahead, left > 0."""
        return wrap_to_pi(math.atan2(-pose.y_m, -pose.x_m) - pose.yaw_rad)

    def near_centre(self, pose: Pose2D) -> bool:
        """Whether the robot stands within the centre's radius."""
        return math.hypot(pose.x_m, pose.y_m) <= self.centre_radius_m
