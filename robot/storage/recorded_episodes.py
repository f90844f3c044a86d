# SPDX-License-Identifier: MIT
"""Reads one episode from a run's journal, and interpolates it at any time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.robot.storage.journal import (
    FLAG_EXIT,
    FLAG_FALL,
    FLAG_START,
    FLAG_STOP,
    PHASE_EPISODE,
    PHASE_STAND_UP,
    JournalError,
    read_journal,
)
from walkhome.robot.storage.run_folder import RunError, RunFolder

FloatArray = npt.NDArray[np.float64]

_ENDED = ((FLAG_FALL, "fall"), (FLAG_EXIT, "exit"), (FLAG_STOP, "stop"))


@dataclass(frozen=True)
class Frame:
    """The state at one moment of a recorded episode.

    Attributes:
        time_s: time since the start of the episode; negative during the stand-up before it.
        pose: (3,) x, y (m) and yaw (rad), world frame; yaw is continuous, not wrapped at pi.
        attitude: (2,) roll and pitch, rad.
        motor_rad: (8,) motor angles.
        action: (8,) the policy's action, before the filter.
        filtered: (8,) the action after the filter.
        phase: `PHASE_EPISODE`, `PHASE_STAND_UP` or `PHASE_WAITING` of the journal.
    """

    time_s: float
    pose: FloatArray
    attitude: FloatArray
    motor_rad: FloatArray
    action: FloatArray
    filtered: FloatArray
    phase: int


@dataclass(frozen=True)
class Episode:
    """An episode as it was recorded.

    Attributes:
        number: number of the episode in its run, from 1.
        task: name of the task.
        ended: why it ended: fall, exit, stop or time.
        records: (n,) journal records, including the stand-up before it if requested.
        period_s: control period, the time between two records.
    """

    number: int
    task: str
    ended: str
    records: npt.NDArray[Any]
    period_s: float

    def times_s(self) -> FloatArray:
        """(n,) times of the records; 0 is the start of the episode after its stand-up."""
        first = int(np.argmax(self.records["phase"] == PHASE_EPISODE))
        return np.asarray((np.arange(len(self.records)) - first) * self.period_s, dtype=np.float64)

    def frames(self, step_s: float) -> Iterator[Frame]:
        """Yield frames every `step_s` seconds, interpolated linearly between records."""
        times, rows = self.times_s(), self.records
        # Unwrapped, because interpolating from pi to -pi would turn the robot through 0.
        pose = rows["pose"].copy()
        pose[:, 2] = np.unwrap(pose[:, 2])
        table = np.hstack(
            [pose, *(rows[name] for name in ("attitude", "motor_angle", "action", "filtered"))]
        ).astype(np.float64)
        for time_s in np.arange(times[0], times[-1] + 1e-9, step_s):
            after = min(int(np.searchsorted(times, time_s)), len(times) - 1)
            before = max(after - 1, 0)
            part = (time_s - times[before]) / self.period_s if after > before else 0.0
            row = (1.0 - part) * table[before] + part * table[after]
            phase = int(rows["phase"][before if part < 0.5 else after])
            pose_now, attitude, motor_rad, action, filtered = np.split(row, [3, 5, 13, 21])
            yield Frame(float(time_s), pose_now, attitude, motor_rad, action, filtered, phase)


def find_episode(run: RunFolder, number: int, with_stand_up: bool = False) -> Episode:
    """Find an episode in a run's journal.

    Args:
        run: a run folder, open for reading.
        number: number of the episode, from 1; -1 is the last.
        with_stand_up: include the stand-up before the episode.

    Raises:
        RunError: there is no readable journal, or no such episode in it.
    """
    try:
        records = read_journal(run.journal).records
    except JournalError as error:
        raise RunError(str(error)) from None
    is_episode = records["phase"] == PHASE_EPISODE
    numbers = np.unique(records["episode"][is_episode]) + 1
    if not len(numbers):
        raise RunError(f"{run.journal}: there is no episode in it yet; let the run continue")
    wanted = int(numbers[number]) if -len(numbers) <= number < 0 else number
    if wanted not in numbers:
        raise RunError(f"--episode {number}: {run.path} has episodes {numbers[0]} to {numbers[-1]}")
    known = is_episode | (records["phase"] == PHASE_STAND_UP)
    own = _last_attempt(records[(records["episode"] == wanted - 1) & known])
    if not with_stand_up:
        own = own[own["phase"] == PHASE_EPISODE]
    flags = int(np.bitwise_or.reduce(own["flags"]))
    ended = next((words for flag, words in _ENDED if flags & flag), "time")
    tasks = own["task"][own["phase"] == PHASE_EPISODE]
    task = run.config.tasks[int(tasks[0])]
    # The record of the start has no action; show the first action that was taken.
    start = np.flatnonzero(own["flags"] & FLAG_START)
    if len(start):
        own = own.copy()
        after = min(int(start[0]) + 1, len(own) - 1)
        for name in ("action", "filtered"):
            own[name][start[0]] = own[name][after]
    return Episode(wanted, task, ended, own, 1.0 / run.config.control.rate_hz)


def _last_attempt(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Drop attempts that a robot fault cut short; the next attempt has the same number."""
    starts = np.flatnonzero(rows["flags"] & FLAG_START)
    if len(starts) < 2:
        return rows
    acted = np.flatnonzero(rows["phase"] == PHASE_EPISODE)
    return rows[acted[acted < starts[-1]][-1] + 1 :]
