# SPDX-License-Identifier: MIT
"""Turns what happens into journal records: steps of episodes, standing up, waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.hardware.rotation import roll_pitch_yaw
from walkhome.robot.control.episode import Step
from walkhome.robot.mdp.observation import FRAME_SIZE
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
from walkhome.robot.training.statistics import Tally

FloatArray = npt.NDArray[np.float64]

_END_FLAG = {"fall": FLAG_FALL, "exit": FLAG_EXIT, "timeout": FLAG_TIMEOUT, "stop": FLAG_STOP}
_PHASE = {"stand_up": PHASE_STAND_UP, "waiting": PHASE_WAITING}
_NOTHING: dict[str, FloatArray] = {
    "observation_frame": np.zeros(FRAME_SIZE),
    "action": np.zeros(8),
    "filtered": np.zeros(8),
    "sent": np.zeros(8),
    "costs": np.zeros(2),
    "features": np.zeros(N_FEATURES),
}


class Recorder:
    """Writes a run's journal.

    Args:
        folder: of the journal.
        tasks: of the run; records name them by index.
        tally: counts of the run, for robot time, steps and episodes.
        period_s: of a record.
        first_record: where a resumed run goes on.
    """

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[str],
        tally: Tally,
        period_s: float,
        first_record: int = 0,
    ) -> None:
        self._tasks, self._tally, self._period_s = tuple(tasks), tally, period_s
        self._writer = JournalWriter(folder, first_record=first_record)

    @property
    def records(self) -> int:
        """Length of the journal, what is not on the disk yet included."""
        return self._writer.written

    @property
    def trouble(self) -> str:
        """Why the disk takes no records now; empty while it does."""
        error = self._writer.error
        return "" if error is None else f"the journal: {error.strerror or error}".lower()

    def at_risk_s(self) -> float:
        """How much robot or wall time a crash would cost now."""
        waiting = (self._writer.written - self._writer.synced) * self._period_s
        return max(waiting, self._writer.at_risk_s())

    def flush(self) -> None:
        """Wait for the disk; see `JournalWriter.flush`."""
        self._writer.flush()

    def close(self) -> None:
        """Wait for the disk and end; see `JournalWriter.close`."""
        self._writer.close()

    def step(self, step: Step) -> None:
        """One step of an episode; in front of its first, the posture in which it starts."""
        flags = FLAG_FIRST if step.first else 0
        if step.ended:
            flags |= FLAG_LAST | _END_FLAG[step.ended]
        costs = np.zeros(2)
        costs[: len(step.costs)] = step.costs
        if step.first:
            start = step.observation[-FRAME_SIZE:]
            self._append(
                step.state_before,
                step.pose_before,
                step.task,
                PHASE_EPISODE,
                FLAG_START,
                frame=start,
            )
        self._append(
            step.state,
            step.pose,
            step.task,
            PHASE_EPISODE,
            flags,
            frame=step.next_observation[-FRAME_SIZE:],
            action=step.action,
            filtered=step.filtered,
            sent=step.sent_rad,
            costs=costs,
            features=step.features,
        )

    def reset(self, kind: str, state: RobotState, pose: Pose2D, sent_rad: FloatArray) -> None:
        """One control period between episodes: `stand_up` or `waiting`."""
        self._append(state, pose, None, _PHASE[kind], 0, sent=sent_rad)

    def _append(
        self,
        state: RobotState,
        pose: Pose2D,
        task: str | None,
        phase: int,
        flags: int,
        frame: FloatArray | None = None,
        **known: FloatArray,
    ) -> None:
        roll, pitch, _ = roll_pitch_yaw(state.attitude_xyzw)
        if frame is not None:
            known["observation_frame"] = frame
        self._writer.append(
            step=self._tally.steps,
            time_s=state.time_s,
            robot_s=self._tally.total_s,
            episode=self._tally.episodes,
            task=-1 if task is None else self._tasks.index(task),
            phase=phase,
            flags=flags,
            pose=(pose.x_m, pose.y_m, pose.yaw_rad),
            attitude=(roll, pitch),
            torque=state.motor_torque_nm,
            battery=state.battery_v,
            motor_angle=state.motor_angle_rad,
            **{**_NOTHING, **known},
        )
