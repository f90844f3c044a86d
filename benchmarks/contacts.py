# SPDX-License-Identifier: MIT
"""Foot contacts estimated from motor torques against the twin's true ones, on learned gaits.

Takes about 20 s for the tasks of one run, 10 roll-outs of 6 s each. The estimate uses what a board
would report: angles and torques of the twin at the control rate, 14 ms after each command. Chatter
is removed from both, as in the report.

`always` is the accuracy of the constant estimate that every foot is on the ground.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import N_LEGS
from walkhome.robot.evaluation.gait import (
    foot_force_of_torque_n,
    on_ground,
    on_ground_by_torque,
    without_chatter,
)
from walkhome.robot.evaluation.gait_record import GaitRecord
from walkhome.robot.evaluation.rollout import roll_out
from walkhome.robot.storage.policies import checked_policies
from walkhome.robot.storage.run_folder import RunFolder

AFTER_COMMAND_S = 0.014

BoolArray = npt.NDArray[np.bool_]


def both(record: GaitRecord, attitude_rad: Any, period_s: float) -> tuple[BoolArray, BoolArray]:
    """True and estimated contacts, each (n, 4) bool, of a roll-out of the twin."""
    step_s = float(np.median(np.diff(record.time_s)))
    rows = slice(round(AFTER_COMMAND_S / step_s), None, round(period_s / step_s))
    true = _quiet(on_ground(record.foot_force_n), step_s)[rows]
    force_n = foot_force_of_torque_n(
        record.motor_angle_rad[rows], record.torque_nm[rows], attitude_rad[: len(true)]
    )
    return true, _quiet(on_ground_by_torque(force_n), period_s)


def _quiet(contact: BoolArray, period_s: float) -> BoolArray:
    feet = [without_chatter(contact[:, leg], period_s) for leg in range(N_LEGS)]
    return np.stack(feet, axis=1)


def measure(path: Path, episodes: int, seconds: float) -> dict[str, dict[str, float]]:
    """Accuracy of the estimate per task, and over all tasks."""
    run = RunFolder.open(path)
    policies = checked_policies(run.path / "policy.safetensors", run.config)
    pairs: dict[str, list[tuple[BoolArray, BoolArray]]] = {}
    for task in run.config.tasks:
        for number in range(episodes):
            attitudes: list[tuple[float, float]] = []
            out = roll_out(
                run.config,
                task,
                policies[task],
                number,
                seconds,
                make_listener=lambda plant, task, into=attitudes: (
                    lambda period: into.append((period.roll_rad, period.pitch_rad))
                ),
            )
            pairs.setdefault(task, []).append(both(out.record, np.array(attitudes), out.period_s))
    pairs["all"] = [pair for task in run.config.tasks for pair in pairs[task]]
    return {task: shares(*map(np.concatenate, zip(*of, strict=True))) for task, of in pairs.items()}


def shares(true: BoolArray, estimated: BoolArray) -> dict[str, float]:
    """Accuracy: overall, while a foot is on the ground, and while it is in the air."""
    right = true == estimated
    return {
        "samples": int(right.size),
        "right": float(right.mean()),
        "right_standing": float(right[true].mean()),
        "right_in_the_air": float(right[~true].mean()),
        "always": float(true.mean()),
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--episodes", type=int, default=10, help="per task")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--quick", action="store_true", help="one episode per task")
    arguments = parser.parse_args()
    episodes = 1 if arguments.quick else arguments.episodes
    for task, row in measure(arguments.run, episodes, arguments.seconds).items():
        print(json.dumps({"task": task, **{key: round(value, 3) for key, value in row.items()}}))


if __name__ == "__main__":
    main()
