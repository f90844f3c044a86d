# SPDX-License-Identifier: MIT
"""One control period as its listeners see it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import Pose2D, RobotState
from walkhome.robot.control.target import Target

if TYPE_CHECKING:
    from walkhome.robot.control.episode import Step

FloatArray = npt.NDArray[np.float64]


class Phase(enum.Enum):
    """What the robot does in a period; the value is the name in logs."""

    EPISODE = "episode"
    STAND_UP = "stand_up"
    WAITING = "waiting"
    DRIVING = "driving"
    HOLDING = "holding"
    REPLAYING = "replaying"


@dataclass(frozen=True, slots=True)
class Period:
    """One control period: what was sent, and what was measured after it.

    Attributes:
        phase: what the robot was doing.
        elapsed_s: how long the period really lasted; skipped periods are included.
        state_before: the measurement that the command was chosen on.
        state: the measurement after the period.
        pose_before: pose on the floor before it, world frame; may be invalid.
        pose: pose on the floor after it, world frame; may be invalid.
        target: what the behaviour asked for; None: no command was sent.
        sent_rad: (8,) motor angles that were really sent; zeros if none were.
        roll_rad: after the period.
        pitch_rad: after the period.
        fell: whether that attitude is a fall.
        step: the period as a transition of the decision process; None outside of roll-outs.
    """

    phase: Phase
    elapsed_s: float
    state_before: RobotState
    state: RobotState
    pose_before: Pose2D
    pose: Pose2D
    target: Target | None
    sent_rad: FloatArray
    roll_rad: float
    pitch_rad: float
    fell: bool
    step: Step | None = None


PeriodListener = Callable[[Period], None]
"""Called once per control period. On a real robot it runs between a command and the wait for the
next period, so it must not wait for anything."""
