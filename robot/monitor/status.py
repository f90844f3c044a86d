# SPDX-License-Identifier: MIT
"""Status of a run at one moment, for the views, and the formatting of its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from walkhome.learning.client import LearnerStatus
    from walkhome.robot.control.board_stats import BoardStats


@dataclass(frozen=True)
class TaskStatus:
    """Counts and mean speeds of one task so far.

    Attributes:
        episodes: number of roll-outs.
        steps: number of control steps.
        falls: number of roll-outs that ended in a fall.
        workspace_exits: number of roll-outs that left the workspace.
        speed_m_s: mean speed of the last roll-outs, along the task's direction.
        turn_rate_rad_s: mean turn rate of the last roll-outs, positive counter-clockwise.
        alpha: temperature of the policy's entropy.
        lambdas: Lagrange multipliers, one per constraint.
    """

    episodes: int = 0
    steps: int = 0
    falls: int = 0
    workspace_exits: int = 0
    speed_m_s: float = 0.0
    turn_rate_rad_s: float = 0.0
    alpha: float = 0.0
    lambdas: tuple[float, ...] = ()


@dataclass(frozen=True)
class RunStatus:
    """Status of a run at one moment.

    Attributes:
        robot_minutes_total: robot minutes so far: moving, standing up and waiting.
        robot_minutes_moving: robot minutes in roll-outs.
        robot_minutes_standing_up: robot minutes in the scripted stand-up.
        robot_minutes_waiting: robot minutes in pauses, and of waiting for a person.
        minutes_budget: planned length of the run, robot minutes.
        wall_s: wall time since the start, s.
        steps: number of control steps in roll-outs.
        gradient_steps: number of gradient steps of the learner.
        phase: current activity of the robot, in a word or two.
        task: task of the newest roll-out.
        pose: x, y (m) and yaw (rad) of the robot, world frame.
        half_length_m: half of the workspace's extent along x.
        half_width_m: half of the workspace's extent along y.
        tasks: status per task.
        falls: number of roll-outs that ended in a fall.
        exits: number of roll-outs that left the workspace.
        stand_ups_tried: number of attempts of the stand-up script.
        stand_ups_failed: number of attempts after which the robot did not stand.
        human_resets: number of times that a person moved the robot.
        centre_radius_m: radius of the workspace's centre; 0: not drawn.
        learner: lag of an asynchronous learner; None for a synchronous one.
        board: timing and faults of a run on a board; None for a twin.
    """

    robot_minutes_total: float
    robot_minutes_moving: float
    robot_minutes_standing_up: float
    robot_minutes_waiting: float
    minutes_budget: float
    wall_s: float
    steps: int
    gradient_steps: int
    phase: str
    task: str
    pose: tuple[float, float, float]
    half_length_m: float
    half_width_m: float
    tasks: Mapping[str, TaskStatus] = field(default_factory=dict)
    falls: int = 0
    exits: int = 0
    stand_ups_tried: int = 0
    stand_ups_failed: int = 0
    human_resets: int = 0
    centre_radius_m: float = 0.0
    learner: LearnerStatus | None = None
    board: BoardStats | None = None


def format_task_speed(name: str, task: TaskStatus) -> str:
    """Format a task's mean speed (m/s), or its turn rate (rad/s) if the task turns."""
    if name in ("left", "right"):
        return f"{task.turn_rate_rad_s:+.2f} rad/s"
    return f"{task.speed_m_s:+.3f} m/s"


def format_duration(seconds: float) -> str:
    """Format a duration as m:ss or h:mm:ss; a negative one as 0:00."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
