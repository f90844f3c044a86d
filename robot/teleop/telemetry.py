# SPDX-License-Identifier: MIT
"""What a drive is made of, for whoever looks on: phases, moments, counts."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.robot import RobotState
from walkhome.robot.teleop.driver_input import Order

FloatArray = npt.NDArray[np.float64]


class Phase(enum.Enum):
    """What the robot is doing."""

    SETTLED = "settled"
    ARMING = "arming"
    STANDING_UP = "standing up"
    DRIVING = "driving"


@dataclass
class Tally:
    """What happened, so far.

    Attributes:
        driven_s: robot time without stand-ups.
        standing_up_s: robot time of stand-ups.
        switches: changes from one gait (or standing) to another.
        falls: while driving.
        settles: times that it was let down.
        cuts: times that the torque was cut.
        faults: times that a board's robot had to be caught.
        needs_help: it does not stand up, or must not be armed, without a person.
        ended_by: why it may not go on, on a board; empty if it may.
        lost: why the driver is gone; empty while there is one.
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
class Moment:
    """What a screen or a camera may want to know of one period.

    Attributes:
        phase: of the engine.
        order: of the driver.
        doing: the gait that has, or gets, the whole weight.
        state: the newest measurement.
        action: (8,) what was asked for; zeros unless driving.
        filtered: (8,) after the low-pass; zeros unless driving.
        sent_rad: (8,) motor angles after the limits; None when nothing was sent.
        tally: so far.
    """

    phase: Phase
    order: Order
    doing: str
    state: RobotState
    action: FloatArray
    filtered: FloatArray
    sent_rad: FloatArray | None
    tally: Tally


def _ignore(kind: str, fields: Mapping[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Listeners:
    """Who is told what happens; neither may wait.

    Attributes:
        period: told every control period.
        event: told what changes: a kind, and its numbers.
    """

    period: Callable[[Moment], None] = lambda moment: None
    event: Callable[[str, Mapping[str, Any]], None] = field(default=_ignore)
