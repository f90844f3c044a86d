# SPDX-License-Identifier: MIT
"""The workspace: a rectangle on the floor, centred where the robot was put down.

The world frame's origin is its centre. A roll-out that leaves it ends (`Workspace.left`), and one
that is about to leave it ends earlier (`Workspace.turns_back`), so that the next roll-out can walk
back towards the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from walkhome.hardware.robot import Pose2D
from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.config.sections import WorkspaceConfig

STRAY_M = 0.3
"""How much further out a roll-out that starts outside may get: half the robot's length."""
OUTWARD_M = 0.1
"""Within the margin, a roll-out ends once it is this much further out than at its start."""


@dataclass(frozen=True)
class Workspace:
    """A rectangle around the origin of the world frame.

    Attributes:
        half_length_m: half of the extent along x.
        half_width_m: half of the extent along y.
        centre_radius_m: radius around the centre within which any task may come next.
        margin_m: width of the strip along the edge in which a roll-out that walks outwards ends;
            at most a quarter of the smaller half extent is used. With 0 a roll-out ends at the edge
            only, as in Ha et al. 2020.
    """

    half_length_m: float
    half_width_m: float
    centre_radius_m: float
    margin_m: float

    def contains(self, pose: Pose2D) -> bool:
        """True while the centre of the robot's trunk is inside."""
        return abs(pose.x_m) <= self.half_length_m and abs(pose.y_m) <= self.half_width_m

    def left(self, pose: Pose2D, start: Pose2D) -> bool:
        """True once a roll-out has left the workspace.

        A roll-out may start outside, because a stand-up can roll the robot over the edge. It then
        counts as left only when it is `STRAY_M` further out than at its start.

        Args:
            pose: where the robot is now.
            start: where the roll-out started.
        """
        if self.contains(start):
            return not self.contains(pose)
        return self._excess_m(pose) > self._excess_m(start) + STRAY_M

    def turns_back(self, pose: Pose2D, start: Pose2D) -> bool:
        """True once a roll-out must end because it would leave the workspace soon.

        The scheduler chooses a direction only at the start of a roll-out, and at 1 m/s a roll-out
        of 4 s crosses 4 m. Ending it within the margin lets the next one walk back.

        Args:
            pose: where the robot is now.
            start: where the roll-out started.
        """
        margin_m = min(self.margin_m, 0.25 * min(self.half_length_m, self.half_width_m))
        reach_m = self._reach_m(pose)
        return margin_m > 0.0 and reach_m > max(-margin_m, self._reach_m(start) + OUTWARD_M)

    def _reach_m(self, pose: Pose2D) -> float:
        """Distance beyond the edge, the larger of both axes; negative inside."""
        return max(abs(pose.x_m) - self.half_length_m, abs(pose.y_m) - self.half_width_m)

    def _excess_m(self, pose: Pose2D) -> float:
        return max(self._reach_m(pose), 0.0)

    @classmethod
    def of(cls, config: WorkspaceConfig) -> Workspace:
        """The workspace of the section `workspace`."""
        return cls(
            config.half_length_m, config.half_width_m, config.centre_radius_m, config.margin_m
        )

    def bearing_to_centre_rad(self, pose: Pose2D) -> float:
        """Direction to the centre in the body frame; 0 is ahead, left is positive."""
        return wrap_to_pi(math.atan2(-pose.y_m, -pose.x_m) - pose.yaw_rad)

    def near_centre(self, pose: Pose2D) -> bool:
        """True within `centre_radius_m` of the centre."""
        return math.hypot(pose.x_m, pose.y_m) <= self.centre_radius_m
