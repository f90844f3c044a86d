# SPDX-License-Identifier: MIT
"""Chooses the task of the next roll-out, once the robot stands."""

from __future__ import annotations

from dataclasses import dataclass

from walkhome.hardware.robot import Pose2D
from walkhome.robot.control.plant import Plant
from walkhome.robot.mdp.scheduler import least_practised, next_task
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.training.statistics import RunStatistics


@dataclass(frozen=True)
class EpisodeStart:
    """Where a roll-out begins.

    Attributes:
        task: name of the task.
        carried_from: pose from which an ablation's twin was carried to the middle, world frame;
            None if the robot has only moved by its own motors.
    """

    task: str
    carried_from: Pose2D | None = None


def choose_start(
    scheduler: bool, plant: Plant, workspace: Workspace, statistics: RunStatistics
) -> EpisodeStart:
    """Choose the next task; exits and human resets that come with it are counted.

    With the scheduler (`ablation.scheduler`) the task is the one that leads home. Without it (an
    ablation) it is the least practised one, and a robot outside of the workspace is carried to the
    middle.

    Raises:
        PoseLost: the robot's pose is not known.
        RobotError: a real robot can't be carried.
    """
    tasks = tuple(statistics.tasks)
    pose = plant.place()
    inside = workspace.contains(pose)
    stayed = statistics.inside and inside
    statistics.see(inside, standing_up=True)
    if scheduler:
        task = next_task(tasks, pose, workspace, statistics.experience())
        return EpisodeStart(task)
    task = least_practised(tasks, statistics.experience())
    if stayed:
        return EpisodeStart(task)
    plant.carry(Pose2D(0.0, 0.0, pose.yaw_rad, pose.time_s))
    statistics.human_resets += 1
    statistics.see(True, standing_up=True)
    return EpisodeStart(task, pose)
