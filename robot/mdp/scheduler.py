# SPDX-License-Identifier: MIT
"""The task scheduler: the next task is the one that brings the robot back to the centre.

The rule generalises Ha et al. 2020 (arXiv 2002.08550, section 3.3) to any set of tasks in opposite
pairs. The walking task whose direction is nearest to the centre's is chosen; if there are turns in
the set and the centre lies more than 45 degrees off, the turn towards the centre is chosen instead.
For two tasks this is a half plane each, for four the paper's sectors. Near the centre the task with
the least experience is chosen.
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
    """A set of tasks that the scheduler can't use; the message says what is missing."""


def check_tasks(tasks: tuple[str, ...], scheduled: bool = True) -> None:
    """Check the set of tasks of a run.

    Args:
        tasks: names of the tasks to learn.
        scheduled: the scheduler brings the robot back, so every task needs its opposite. False for
            the ablation in which the twin is moved back instead (`ablation.scheduler`).

    Raises:
        TasksInvalid: the set is empty, a task is unknown, or one lacks its opposite.
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
    """Name of the task to learn in the next episode.

    Args:
        tasks: names of the tasks being learned, in opposite pairs.
        pose: where the robot stands.
        workspace: the workspace, whose centre the robot should return to.
        experience: control steps collected so far, by task.
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
    """Name of the task with the fewest steps in `experience`; the first in `tasks` of equals."""
    return min(tasks, key=lambda name: (experience[name], tasks.index(name)))
