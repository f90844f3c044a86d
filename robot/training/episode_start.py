# SPDX-License-Identifier: MIT
"""What comes next once the robot stands: the task, and who had to help to get there."""

from __future__ import annotations

from dataclasses import dataclass

from walkhome.hardware.robot import Pose2D
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Rig
from walkhome.robot.control.reset import carry
from walkhome.robot.mdp.scheduler import least_practised, next_task
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.training.statistics import Tally


@dataclass(frozen=True)
class Start:
    """Where a roll-out begins.

    Attributes:
        task: what to do in it.
        carried_from: from where the twin of an ablation was carried to the middle; None if it only
            ever moved by itself.
    """

    task: str
    carried_from: Pose2D | None = None


def choose_start(config: Config, rig: Rig, workspace: Workspace, tally: Tally) -> Start:
    """The next roll-out of a robot that stands; what is counted with it goes into the tally.

    Raises:
        PoseLost: nobody knows where the robot is.
    """
    pose = rig.place()
    inside = workspace.contains(pose)
    stayed = tally.inside and inside
    tally.see(inside, standing_up=True)
    if config.ablation.scheduler:
        return Start(next_task(config.tasks, pose, workspace, tally.experience()))
    task = least_practised(config.tasks, tally.experience())
    if stayed:
        return Start(task)
    # Nothing leads home: somebody carries it to the middle.
    carry(rig, Pose2D(0.0, 0.0, pose.yaw_rad, pose.time_s))
    tally.human_resets += 1
    tally.see(True, standing_up=True)
    return Start(task, pose)
