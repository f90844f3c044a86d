# SPDX-License-Identifier: MIT
"""Collects the status of a run for the view."""

from __future__ import annotations

from walkhome.learning.client import LearnerClient
from walkhome.robot.control.plant import Plant
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.monitor.status import RunStatus, TaskStatus
from walkhome.robot.training.statistics import RunStatistics


def status_of(
    minutes: float,
    workspace: Workspace,
    statistics: RunStatistics,
    learner: LearnerClient,
    plant: Plant,
    phase: str,
    task: str,
    wall_s: float,
) -> RunStatus:
    """The status of a run now.

    Args:
        minutes: robot minutes that the run may take.
        workspace: the workspace on the floor.
        statistics: counts of the run.
        learner: its metrics and multipliers.
        plant: the robot, for its pose and its timing.
        phase: what the robot does now, in a word or two.
        task: task of the newest roll-out.
        wall_s: wall time of the run, over all its processes.
    """
    pose, figures = plant.pose.latest(), learner.metrics()
    return RunStatus(
        robot_minutes_total=statistics.total_s / 60.0,
        robot_minutes_moving=statistics.moving_s / 60.0,
        robot_minutes_standing_up=statistics.standing_up_s / 60.0,
        robot_minutes_waiting=statistics.waiting_s / 60.0,
        minutes_budget=minutes,
        wall_s=wall_s,
        steps=statistics.steps,
        gradient_steps=learner.gradient_steps,
        phase=phase,
        task=task,
        pose=(pose.x_m, pose.y_m, pose.yaw_rad),
        half_length_m=workspace.half_length_m,
        half_width_m=workspace.half_width_m,
        tasks={
            name: TaskStatus(
                episodes=counts.episodes,
                steps=counts.steps,
                falls=counts.falls,
                workspace_exits=counts.workspace_exits,
                speed_m_s=counts.speed_m_s,
                turn_rate_rad_s=counts.turn_rate_rad_s,
                alpha=float(figures[name]["alpha"]),  # type: ignore[arg-type]
                lambdas=tuple(learner.multipliers(name).tolist()),
            )
            for name, counts in statistics.tasks.items()
        },
        falls=statistics.falls,
        exits=statistics.workspace_exits,
        stand_ups_tried=statistics.stand_ups_tried,
        stand_ups_failed=statistics.stand_ups_failed,
        human_resets=statistics.human_resets,
        learner=learner.status(),
        board=plant.stats(),
    )
