# SPDX-License-Identifier: MIT
"""Which task next: the one that walks home (Ha 2020, section 3.3).

The general rule for any set of tasks in opposite pairs: with turns in the set, the nearest walking
direction if the centre lies within 45 degrees of it, else the turn toward the centre; without turns
the nearest walking direction. Two tasks: the half plane decides. Four: the paper's four sectors.
Near the centre every direction is as good, so the task with the least experience gets it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from walkhome.hardware.robot import Pose2D
from walkhome.hardware.rotation import wrap_to_pi
from walkhome.robot.mdp.rewards import TASKS
from walkhome.robot.mdp.workspace import Workspace

SECTOR_RAD = math.pi / 4


class TasksInvalid(ValueError):  # noqa: N818 - says what is wrong
    """A set of tasks that can't walk home."""


def check_tasks(tasks: tuple[str, ...], scheduled: bool = True) -> None:
    """Refuse an empty set, an unknown task, or one without its opposite.

    Args:
        tasks: those to learn.
        scheduled: they must be able to walk home; an ablation carries its twin there instead.

    Raises:
        TasksInvalid: with what is missing.
    """
    if not tasks:
        raise TasksInvalid(f"no tasks; use some of {', '.join(TASKS)}")
    for name in tasks:
        if name not in TASKS:
            raise TasksInvalid(f"unknown task {name!r}; use some of {', '.join(TASKS)}")
        if scheduled and TASKS[name].opposite not in tasks:
            raise TasksInvalid(f"task {name!r} needs its opposite {TASKS[name].opposite!r} too")


def next_task(
    tasks: tuple[str, ...],
    pose: Pose2D,
    workspace: Workspace,
    experience: Mapping[str, int],
) -> str:
    """The task to learn in the next episode.

    Args:
        tasks: those being learned, in opposite pairs.
        pose: where the robot stands.
        workspace: whose centre is home.
        experience: steps collected so far, per task.
    """
    if workspace.near_centre(pose):
        return least_practised(tasks, experience)
    bearing = workspace.bearing_to_centre_rad(pose)
    walks = [name for name in tasks if not TASKS[name].turns]
    turns = [name for name in tasks if TASKS[name].turns]

    def off_rad(name: str) -> float:
        return abs(wrap_to_pi(TASKS[name].heading_rad - bearing))

    nearest = min(walks, key=off_rad, default=None)
    if nearest is not None and (not turns or off_rad(nearest) <= SECTOR_RAD):
        return nearest
    side = 1.0 if bearing >= 0.0 else -1.0
    return next(name for name in turns if TASKS[name].direction[2] * side > 0.0)


def least_practised(tasks: tuple[str, ...], experience: Mapping[str, int]) -> str:
    """The task with the fewest steps so far; the first of equals."""
    return min(tasks, key=lambda name: (experience[name], tasks.index(name)))
