# SPDX-License-Identifier: MIT
"""From what a person types after --pose to a pose source.

auto                     a program on this machine sends poses to the robot's own socket
unix:PATH                the same, to another socket
odometry                 encoders and IMU only: drifts, so no fence that can be trusted
"""

from __future__ import annotations

from pathlib import Path

from hardware.board import SerialRobot
from hardware.odometry import LegOdometry
from hardware.pose import PoseGuard, PoseSourceRefused, SocketPose
from hardware.robot import PoseSource
from safety.lease import runtime_folder

KINDS = "auto, unix:PATH, odometry"


def pose_socket(robot_id: str) -> Path:
    """Where `auto` listens, and where the emulated robot sends to."""
    safe = "".join(c if c.isalnum() or c in "_.-" else "_" for c in robot_id)
    return runtime_folder() / f"pose-{safe}.sock"


def make_pose(text: str, robot: SerialRobot) -> PoseGuard:
    """The guarded source that `text` names.

    Raises:
        PoseSourceRefused: it can't be had.
    """
    kind, _, rest = text.partition(":")
    source: PoseSource
    if text == "auto":
        source = SocketPose(pose_socket(robot.identity.robot_id))
    elif kind == "unix" and rest:
        source = SocketPose(Path(rest))
    elif text == "odometry":
        source = odometry = LegOdometry(robot.body)
        robot.listeners.append(odometry.update)
    else:
        raise PoseSourceRefused(f"--pose: {text!r} is not known; use one of {KINDS}")
    guard = PoseGuard(source)
    robot.at_close(guard.close)
    return guard
