# SPDX-License-Identifier: MIT
"""What listeners of a drive get: states, periods, events and statistics."""

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
        driven_s: robot time without stand-ups.
        standing_up_s: robot time of stand-ups.
        switches: changes from one gait (or standing) to another.
        falls: falls while driving.
        settles: how often the robot was let down.
        cuts: how often the torque was cut.
        faults: how often a fault of the robot settled it.
        needs_help: the robot does not stand up, or must not be armed, without a person.
        ended_by: why a board's robot may not go on; empty if it may.
        lost: why the driver is gone for good; empty while there is one.
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
        input: the driver's input that it acted on.
        gait: the gait that has, or gets, the whole weight.
        state: the newest measurement.
        action: (8,) what was asked for; zeros unless driving.
        filtered: (8,) the action after the low-pass; zeros unless driving.
        sent_rad: (8,) motor angles after the limits; None when nothing was sent.
        statistics: counts so far; the drive changes them.
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
    """Functions that a drive calls; they must not wait for anything.

    Attributes:
        period: called with every control period.
        event: called with every event: its kind and its fields.
    """

    period: Callable[[DrivePeriod], None] = lambda period: None
    event: Callable[[str, Mapping[str, Any]], None] = field(default=_ignore)
