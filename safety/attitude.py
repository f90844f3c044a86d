# SPDX-License-Identifier: MIT
"""Fall detection from roll and pitch."""

from __future__ import annotations


def is_fallen(
    *, roll_rad: float, pitch_rad: float, roll_limit_rad: float, pitch_limit_rad: float
) -> bool:
    """Whether the attitude counts as a fall; a NaN angle or limit does.

    Args:
        roll_rad: right side down > 0.
        pitch_rad: nose down > 0.
        roll_limit_rad: largest roll magnitude of a robot that has not fallen.
        pitch_limit_rad: largest pitch magnitude of a robot that has not fallen.
    """
    return not (abs(roll_rad) <= roll_limit_rad and abs(pitch_rad) <= pitch_limit_rad)
