# SPDX-License-Identifier: MIT
"""Is the robot down, and how close is it to it: pure functions of roll and pitch (rad).

The two constraints are those of Ha et al. 2020 (arXiv 2002.08550, section 4.2): pitch within pi/12
and roll within pi/6. A reading that is not finite counts as the worst case, never as fine.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

PITCH_LIMIT_RAD = math.pi / 12
ROLL_LIMIT_RAD = math.pi / 6
WORST_ANGLE_RAD = math.pi


def is_fallen(
    roll_rad: float,
    pitch_rad: float,
    roll_limit_rad: float = math.pi / 3,
    pitch_limit_rad: float = math.pi / 3,
) -> bool:
    """Whether the attitude ends an episode.

    The comparison is written so that a NaN angle or limit counts as a fall.
    """
    return not (abs(roll_rad) <= roll_limit_rad and abs(pitch_rad) <= pitch_limit_rad)


def attitude_costs(
    roll_rad: npt.ArrayLike,
    pitch_rad: npt.ArrayLike,
    pitch_limit_rad: float = PITCH_LIMIT_RAD,
    roll_limit_rad: float = ROLL_LIMIT_RAD,
) -> FloatArray:
    """How far roll and pitch exceed their limits.

    Args:
        roll_rad: any shape.
        pitch_rad: the same shape.
        pitch_limit_rad: pitch magnitude that costs nothing.
        roll_limit_rad: roll magnitude that costs nothing.

    Returns:
        (..., 2) rad: pitch cost, roll cost; zero within the limits, never negative.
    """
    pitch = np.maximum(_magnitude(pitch_rad) - pitch_limit_rad, 0.0)
    roll = np.maximum(_magnitude(roll_rad) - roll_limit_rad, 0.0)
    return np.stack([pitch, roll], axis=-1)


def attitude_margin(
    roll_rad: npt.ArrayLike,
    pitch_rad: npt.ArrayLike,
    pitch_limit_rad: float = PITCH_LIMIT_RAD,
    roll_limit_rad: float = ROLL_LIMIT_RAD,
) -> FloatArray:
    """The paper's one margin f_s = min(pi/12 - |pitch|, pi/6 - |roll|); negative when violated.

    Args:
        roll_rad: any shape.
        pitch_rad: the same shape.
        pitch_limit_rad: the paper's pi/12.
        roll_limit_rad: the paper's pi/6.

    Returns:
        the same shape, rad.
    """
    margin = np.minimum(
        pitch_limit_rad - _magnitude(pitch_rad), roll_limit_rad - _magnitude(roll_rad)
    )
    return np.asarray(margin, dtype=np.float64)


def _magnitude(angle_rad: npt.ArrayLike) -> FloatArray:
    """|angle|, with everything that is not finite taken for the worst angle."""
    angle = np.abs(np.asarray(angle_rad, dtype=np.float64))
    return np.where(np.isfinite(angle), angle, WORST_ANGLE_RAD)
