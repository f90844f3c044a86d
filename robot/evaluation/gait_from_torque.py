# SPDX-License-Identifier: MIT
"""Gaits of a run on a board, with foot contacts estimated from the motors' torques.

The data is one learning episode per task from the journal, exploration included.
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

LAST_EPISODES = 5  # of a task; the longest of them is shown
SHORTEST_S = 2.5  # of an episode that has a gait


def first_board_episode(events: Sequence[Mapping[str, Any]]) -> int | None:
    """The first episode of the newest process of a run, if that drove a board; else None."""
    kinds = [event.get("event") for event in events]
    starts = [at for at, kind in enumerate(kinds) if kind == "learn_start"]
    if not starts or kinds[max(0, starts[-1] - 1)] != "on_time":
        return None
    return kinds[: starts[-1]].count("episode")


def board_gaits(
    records: npt.NDArray[Any], config: Config, first_episode: int
) -> dict[str, GaitRecord]:
    """Per task what legs and motors did in one of its last episodes; tasks without one left out.

    Args:
        records: of the journal, steps of episodes.
        config: of the run.
        first_episode: that was on the board, counted from 0.
    """
    found: dict[str, GaitRecord] = {}
    for index, task in enumerate(config.tasks):
        own = records[(records["task"] == index) & (records["episode"] >= first_episode)]
        # A roll-out that a fault cut short has the number of the next one.
        roll_outs = np.split(own, np.flatnonzero(own["flags"] & FLAG_FIRST))
        walked = [rows for rows in roll_outs if len(rows) and not (rows["flags"] & FLAG_FALL).any()]
        if walked:
            longest = max(walked[-LAST_EPISODES:], key=len)
            if len(longest) * _period_s(config) >= SHORTEST_S:
                found[task] = gait_of_episode(longest, config)
    return found


def gait_of_episode(rows: npt.NDArray[Any], config: Config) -> GaitRecord:
    """The record of one episode on a board, at the control rate.

    Args:
        rows: of the journal, in order.
        config: of the run.
    """
    period_s = _period_s(config)
    seen_s = np.maximum.accumulate(rows["time_s"] - rows["time_s"][0])
    time_s = np.arange(0.0, seen_s[-1] + 1e-9, period_s)
    # A loop that was late left a gap: a straight line through it keeps strides their length.
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
