# SPDX-License-Identifier: MIT
"""What a behaviour asks for in the next control period: a motor target, rest, or its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Target:
    """Motor angles to hold during the next control period.

    Attributes:
        angle_rad: (8,) target angles.
        kp: PD gain, PWM per rad.
        kd: PD gain, PWM per rad/s.
        scripted: the target comes from a script that limits its own rate and range
            (`safety.recovery.stand_up`); only the torque is limited further.
        action: (8,) the policy's action in [-1, 1]; None if there was none.
        filtered: (8,) the action after the low-pass filter; None if there was none.
    """

    angle_rad: FloatArray
    kp: float
    kd: float
    scripted: bool = False
    action: FloatArray | None = None
    filtered: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Rest:
    """No command during the next control period; the robot lies limp or is sitting down.

    Attributes:
        blind: a measurement that is missing is no fault, and the last one stays the newest.
    """

    blind: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """The behaviour has ended.

    Attributes:
        outcome: its result, of a type that the behaviour documents.
    """

    outcome: Any = None


Wish = Target | Rest | Done
