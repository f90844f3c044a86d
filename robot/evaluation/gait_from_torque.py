# SPDX-License-Identifier: MIT
"""Gait records of a run on a board, with foot contacts estimated from the motors' torques.

    journal records  ->  one of the last episodes per task  ->  `GaitRecord` at the control rate

The episodes are learning episodes and include exploration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import CURRENT_TABLE_A, TORQUE_TABLE_NM
from walkhome.robot.config.schema import Config
from walkhome.robot.evaluation.gait import foot_force_of_torque_n
from walkhome.robot.evaluation.gait_record import GaitRecord
from walkhome.robot.storage.journal import FLAG_FALL, FLAG_FIRST
from walkhome.sim.motor import electrical_power_w

LAST_EPISODES = 5  # the longest of a task's last episodes is used
SHORTEST_S = 2.5  # shorter episodes give no gait record


def first_board_episode(events: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the number of the first episode of a run's newest process.

    Args:
        events: all events of the run, in order.

    Returns:
        The episode's number, counted from 0; None if that process did not drive a board.
    """
    kinds = [event.get("event") for event in events]
    starts = [at for at, kind in enumerate(kinds) if kind == "learn_start"]
    if not starts or kinds[max(0, starts[-1] - 1)] != "on_time":
        return None
    return kinds[: starts[-1]].count("episode")


def board_gaits(
    records: npt.NDArray[Any], config: Config, first_episode: int
) -> dict[str, GaitRecord]:
    """Make a gait record per task from the longest of its last episodes without a fall.

    Args:
        records: journal records of the steps in episodes.
        config: configuration of the run.
        first_episode: number of the first episode on the board, counted from 0.

    Returns:
        Records by task; tasks without an episode of at least `SHORTEST_S` are left out.
    """
    found: dict[str, GaitRecord] = {}
    for index, task in enumerate(config.tasks):
        own = records[(records["task"] == index) & (records["episode"] >= first_episode)]
        # A roll-out that a fault ended has the same number as the next one; split them.
        roll_outs = np.split(own, np.flatnonzero(own["flags"] & FLAG_FIRST))
        walked = [rows for rows in roll_outs if len(rows) and not (rows["flags"] & FLAG_FALL).any()]
        if walked:
            longest = max(walked[-LAST_EPISODES:], key=len)
            if len(longest) * _period_s(config) >= SHORTEST_S:
                found[task] = gait_of_episode(longest, config)
    return found


def gait_of_episode(rows: npt.NDArray[Any], config: Config) -> GaitRecord:
    """Make the gait record of one episode on a board, resampled to the control rate.

    Args:
        rows: journal records of the episode, in order.
        config: configuration of the run.
    """
    period_s = _period_s(config)
    seen_s = np.maximum.accumulate(rows["time_s"] - rows["time_s"][0])
    time_s = np.arange(0.0, seen_s[-1] + 1e-9, period_s)
    # Late control periods leave gaps in time; interpolating them preserves the strides' length.
    names = ("motor_angle", "torque", "attitude")
    table = np.hstack([rows[name] for name in names]).astype(np.float64)
    even = np.stack([np.interp(time_s, seen_s, column) for column in table.T], axis=1)
    angle_rad, torque_nm, attitude_rad = np.split(even, [8, 16], axis=1)
    velocity_rad_s = np.gradient(angle_rad, period_s, axis=0)
    current_a = np.interp(np.abs(torque_nm), TORQUE_TABLE_NM, CURRENT_TABLE_A)
    return GaitRecord(
        time_s,
        foot_force_of_torque_n(angle_rad, torque_nm, attitude_rad),
        angle_rad,
        velocity_rad_s,
        torque_nm,
        electrical_power_w(torque_nm, current_a, velocity_rad_s),
        estimated=True,
    )


def _period_s(config: Config) -> float:
    return 1.0 / config.control.rate_hz
