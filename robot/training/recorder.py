# SPDX-License-Identifier: MIT
"""Turns control periods into journal records: steps of episodes, standing up, waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.control.episode import Step
from walkhome.robot.control.period import Period, Phase
from walkhome.robot.mdp.costs import NAMES
from walkhome.robot.mdp.observation import FRAME_SIZE, N_ACTIONS
from walkhome.robot.mdp.rewards import N_FEATURES
from walkhome.robot.storage.journal import (
    FLAG_EXIT,
    FLAG_FALL,
    FLAG_FIRST,
    FLAG_LAST,
    FLAG_START,
    FLAG_STOP,
    FLAG_TIMEOUT,
    PHASE_EPISODE,
    PHASE_STAND_UP,
    PHASE_WAITING,
)
from walkhome.robot.storage.journal_writer import JournalWriter
from walkhome.robot.training.statistics import RunStatistics

FloatArray = npt.NDArray[np.float64]

_END_FLAG = {"fall": FLAG_FALL, "exit": FLAG_EXIT, "timeout": FLAG_TIMEOUT, "stop": FLAG_STOP}
_PHASE = {
    Phase.EPISODE: PHASE_EPISODE,
    Phase.STAND_UP: PHASE_STAND_UP,
    Phase.WAITING: PHASE_WAITING,
}
_UNUSED: dict[str, FloatArray] = {
    "observation_frame": np.zeros(FRAME_SIZE),
    "action": np.zeros(N_ACTIONS),
    "filtered": np.zeros(N_ACTIONS),
    "sent": np.zeros(N_ACTIONS),
    "costs": np.zeros(len(NAMES)),
    "features": np.zeros(N_FEATURES),
}


class Recorder:
    """Writes a run's journal.

    Args:
        folder: folder of the journal.
        tasks: names of the run's tasks; records hold their index.
        statistics: counts of the run, for robot time, steps and episodes.
        period_s: control period, the robot time of a record.
        first_record: index at which a resumed run continues.
    """

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[str],
        statistics: RunStatistics,
        period_s: float,
        first_record: int = 0,
    ) -> None:
        self._tasks, self._statistics, self._period_s = tuple(tasks), statistics, period_s
        self._writer = JournalWriter(folder, first_record=first_record)

    @property
    def records(self) -> int:
        """Length of the journal, records that are not on the disk yet included."""
        return self._writer.written

    @property
    def trouble(self) -> str:
        """Why the disk takes no records now; empty while it does."""
        error = self._writer.error
        return "" if error is None else f"the journal: {error.strerror or error}".lower()

    def at_risk_s(self) -> float:
        """Seconds of robot time, or of wall time if more, that a crash would lose now."""
        waiting = (self._writer.written - self._writer.synced) * self._period_s
        return max(waiting, self._writer.at_risk_s())

    def flush(self) -> None:
        """Wait for the disk; see `JournalWriter.flush`."""
        self._writer.flush()

    def close(self) -> None:
        """Wait for the disk and end; see `JournalWriter.close`."""
        self._writer.close()

    def record(self, period: Period) -> None:
        """Append one control period."""
        if period.step is not None:
            self._record_step(period, period.step)
        else:
            self._append(period.state, period.pose, period.phase, sent=period.sent_rad)

    def _record_step(self, period: Period, step: Step) -> None:
        """Append a step of an episode; before its first, the posture in which it starts."""
        if step.first:
            start = step.observation[-FRAME_SIZE:]
            self._append(
                period.state_before,
                period.pose_before,
                period.phase,
                step.task,
                FLAG_START,
                observation_frame=start,
            )
        flags = FLAG_FIRST if step.first else 0
        if step.ended:
            flags |= FLAG_LAST | _END_FLAG[step.ended]
        costs = np.zeros(len(NAMES))
        costs[: len(step.costs)] = step.costs
        self._append(
            period.state,
            period.pose,
            period.phase,
            step.task,
            flags,
            observation_frame=step.next_observation[-FRAME_SIZE:],
            action=step.action,
            filtered=step.filtered,
            sent=period.sent_rad,
            costs=costs,
            features=step.features,
        )

    def _append(
        self,
        state: RobotState,
        pose: Pose2D,
        phase: Phase,
        task: str | None = None,
        flags: int = 0,
        **known: FloatArray,
    ) -> None:
        roll_rad, pitch_rad, _ = roll_pitch_yaw(state.attitude_xyzw)
        self._writer.append(
            step=self._statistics.steps,
            time_s=state.time_s,
            robot_s=self._statistics.total_s,
            episode=self._statistics.episodes,
            task=-1 if task is None else self._tasks.index(task),
            phase=_PHASE[phase],
            flags=flags,
            pose=(pose.x_m, pose.y_m, pose.yaw_rad),
            attitude=(roll_rad, pitch_rad),
            torque=state.motor_torque_nm,
            battery=state.battery_v,
            motor_angle=state.motor_angle_rad,
            **{**_UNUSED, **known},
        )
