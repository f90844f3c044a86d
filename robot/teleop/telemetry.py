# SPDX-License-Identifier: MIT
"""Telemetry of a drive for its listeners: state, control periods, events, statistics."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import RobotState
from walkhome.robot.teleop.driver_input import DriverInput

FloatArray = npt.NDArray[np.float64]


class DriveState(enum.Enum):
    """What the robot is doing."""

    SETTLED = "settled"
    ARMING = "arming"
    STANDING_UP = "standing up"
    DRIVING = "driving"


@dataclass
class DriveStatistics:
    """Counts of a drive so far.

    Attributes:
        driven_s: robot time without stand-ups, s.
        standing_up_s: robot time of stand-ups, s.
        switches: changes from one gait (or standing) to another.
        falls: falls while driving.
        settles: how often the driver let the robot settle.
        cuts: how often the driver cut the torque.
        faults: how often a fault of the robot settled it.
        needs_help: whether a person is needed before the robot can stand up or be armed.
        ended_by: why the drive of a board's robot can't go on; empty if it can.
        lost: why the driver's input is lost for good; empty if it is not.
    """

    driven_s: float = 0.0
    standing_up_s: float = 0.0
    switches: int = 0
    falls: int = 0
    settles: int = 0
    cuts: int = 0
    faults: int = 0
    needs_help: bool = False
    ended_by: str = ""
    lost: str = ""


@dataclass(frozen=True, slots=True)
class DrivePeriod:
    """One control period of a drive, for a screen or a camera.

    Attributes:
        drive_state: what the robot is doing.
        input: the driver input that the robot acted on.
        gait: the gait that drives the robot, or to which a hand-over is under way.
        state: the newest measurement.
        action: (8,) the policy's action in [-1, 1]; zeros unless driving.
        filtered: (8,) the action after the low-pass filter; zeros unless driving.
        sent_rad: (8,) motor angles after the limits, rad; None when no command was sent.
        statistics: counts so far; a live object that the drive updates.
    """

    drive_state: DriveState
    input: DriverInput
    gait: str
    state: RobotState
    action: FloatArray
    filtered: FloatArray
    sent_rad: FloatArray | None
    statistics: DriveStatistics


def _ignore(kind: str, fields: Mapping[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Listeners:
    """Functions that a drive calls from its control thread; they must not block.

    Attributes:
        period: called with every control period.
        event: called with the kind and the fields of every event (`robot.teleop.screen`).
    """

    period: Callable[[DrivePeriod], None] = lambda period: None
    event: Callable[[str, Mapping[str, Any]], None] = field(default=_ignore)
