# SPDX-License-Identifier: MIT
"""One episode out of a run's journal, and any moment of it."""

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
    """One moment of an episode.

    Attributes:
        time_s: since its start; of the stand-up before it, negative.
        pose: x, y (m), yaw (rad), world frame; yaw does not jump at pi.
        attitude: roll, pitch, rad.
        motor_rad: (8,) motor angles.
        action: (8,) what the policy asked for.
        filtered: (8,) after the low-pass.
        phase: as in the journal.
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
    """A recorded episode.

    Attributes:
        number: counted from 1.
        task: its name.
        ended: by what: fall, exit, stop or time.
        records: of the journal; the stand-up before it too, if that was asked for.
        period_s: of a record.
    """

    number: int
    task: str
    ended: str
    records: npt.NDArray[Any]
    period_s: float

    def times_s(self) -> FloatArray:
        """(n,) of the records; 0 is the first posture of the episode itself."""
        first = int(np.argmax(self.records["phase"] == PHASE_EPISODE))
        return np.asarray((np.arange(len(self.records)) - first) * self.period_s, dtype=np.float64)

    def frames(self, step_s: float) -> Iterator[Frame]:
        """Moments `step_s` apart, straight lines between the recorded ones."""
        times, rows = self.times_s(), self.records
        # One table, one interpolation; yaw must not run through 0 from pi to -pi.
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
    """One episode of a run's journal.

    Args:
        run: open for reading.
        number: counted from 1; -1 is the last.
        with_stand_up: take the stand-up before it too.

    Raises:
        RunError: no journal, or no such episode in it.
    """
    try:
        records = read_journal(run.journal).records
    except JournalError as error:
        raise RunError(str(error)) from None
    is_episode = records["phase"] == PHASE_EPISODE
    numbers = np.unique(records["episode"][is_episode]) + 1
    if not len(numbers):
        raise RunError(f"{run.journal}: no episode in it yet; let the run go on")
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
    # The posture at the start has no step before it, and none of its actions were taken.
    start = np.flatnonzero(own["flags"] & FLAG_START)
    if len(start):
        own = own.copy()
        after = min(int(start[0]) + 1, len(own) - 1)
        for name in ("action", "filtered"):
            own[name][start[0]] = own[name][after]
    return Episode(wanted, task, ended, own, 1.0 / run.config.control.rate_hz)


def _last_attempt(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Without what a fault of the robot cut short: it counts as no episode, the next one does."""
    starts = np.flatnonzero(rows["flags"] & FLAG_START)
    if len(starts) < 2:
        return rows
    acted = np.flatnonzero(rows["phase"] == PHASE_EPISODE)
    return rows[acted[acted < starts[-1]][-1] + 1 :]
