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
        episodes: roll-outs.
        steps: control steps.
        falls: roll-outs that ended in a fall.
        workspace_exits: roll-outs that left the workspace.
        speed_m_s: mean of the last roll-outs, along the task's direction.
        turn_rate_rad_s: mean of the last roll-outs, counter-clockwise > 0.
        alpha: temperature.
        lambdas: one multiplier per constraint.
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
        robot_minutes_total: moving, standing up and waiting together.
        robot_minutes_moving: in roll-outs.
        robot_minutes_standing_up: in the scripted stand-up.
        robot_minutes_waiting: pauses, and waiting for a person.
        minutes_budget: robot minutes that the run may take.
        wall_s: time since the start on the wall.
        steps: control steps in roll-outs.
        gradient_steps: updates of the learner.
        phase: what the robot does now, in a word or two.
        task: the newest roll-out's task.
        pose: x, y (m), yaw (rad), world frame.
        half_length_m: of the workspace, along x.
        half_width_m: of the workspace, along y.
        tasks: by name.
        falls: roll-outs that ended in a fall.
        exits: roll-outs that left the workspace.
        stand_ups_tried: attempts of the script.
        stand_ups_failed: attempts after which it did not stand.
        human_resets: touches by a person.
        centre_radius_m: of the workspace's centre; 0 draws none.
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
    """Seconds as m:ss or h:mm:ss."""
    whole = max(0, int(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
