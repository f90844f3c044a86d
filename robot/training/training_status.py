# SPDX-License-Identifier: MIT
"""What the view is shown of a learning loop."""

from __future__ import annotations

from walkhome.learning.client import LearnerClient
from walkhome.robot.config.schema import Config
from walkhome.robot.control.plant import Rig
from walkhome.robot.mdp.workspace import Workspace
from walkhome.robot.monitor.status import Snapshot, TaskSnapshot
from walkhome.robot.training.statistics import Tally


def snapshot_of(
    config: Config,
    tally: Tally,
    learner: LearnerClient,
    rig: Rig,
    phase: str,
    task: str,
    wall_s: float,
) -> Snapshot:
    """The run at this moment.

    Args:
        config: of the run.
        tally: its counts.
        learner: of the run.
        rig: what is driven.
        phase: what the robot does now.
        task: the newest roll-out's.
        wall_s: of the run, over all its processes.
    """
    workspace = Workspace.of(config.workspace)
    pose, figures = rig.pose.latest(), learner.metrics()
    return Snapshot(
        robot_minutes_total=tally.total_s / 60.0,
        robot_minutes_moving=tally.moving_s / 60.0,
        robot_minutes_standing_up=tally.standing_up_s / 60.0,
        robot_minutes_waiting=tally.waiting_s / 60.0,
        minutes_budget=config.run.minutes,
        wall_s=wall_s,
        steps=tally.steps,
        gradient_steps=learner.gradient_steps,
        phase=phase,
        task=task,
        pose=(pose.x_m, pose.y_m, pose.yaw_rad),
        half_length_m=workspace.half_length_m,
        half_width_m=workspace.half_width_m,
        tasks={
            name: TaskSnapshot(
                episodes=counts.episodes,
                steps=counts.steps,
                falls=counts.falls,
                workspace_exits=counts.workspace_exits,
                speed_m_s=counts.speed_m_s,
                turn_rate_rad_s=counts.turn_rate_rad_s,
                alpha=float(figures[name]["alpha"]),  # type: ignore[arg-type]
                lambdas=tuple(learner.multipliers(name).tolist()),
            )
            for name, counts in tally.tasks.items()
        },
        falls=tally.falls,
        exits=tally.workspace_exits,
        stand_ups_tried=tally.stand_ups_tried,
        stand_ups_failed=tally.stand_ups_failed,
        human_resets=tally.human_resets,
        learner=learner.status(),
        board=None if rig.arming is None else rig.arming.figures(),
    )
