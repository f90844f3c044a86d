# SPDX-License-Identifier: MIT
"""Conversion between a board's motor numbers and the body's: order, sign and zero of each motor.

docs/protocol.md requires the order and signs of `hardware.body` from a board, which leaves the
zeros: the encoder reading at which the body's angle is 0. `robot calibrate` measures a new table
after a repair. A table is valid only together with the board's own zero table it was measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import leg_to_motor
from walkhome.hardware.constants import N_MOTORS

FloatArray = npt.NDArray[np.float64]

# Posture in the calibration jig: legs straight down, both cranks level.
JIG_SWING_RAD = 0.0
JIG_EXTENSION_RAD = 0.5 * math.pi


@dataclass(frozen=True)
class Wiring:
    """Maps the board's motor values to the body's and back.

    Attributes:
        order: motor i of the body is motor `order[i]` of the board; each number occurs once.
        sign: +1 or -1: direction of the body's motor i in the board's readings.
        zero_rad: reading of the board for the body's motor i at angle 0.
    """

    order: tuple[int, ...] = tuple(range(N_MOTORS))
    sign: tuple[float, ...] = (1.0,) * N_MOTORS
    zero_rad: tuple[float, ...] = (0.0,) * N_MOTORS

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a field has the wrong length or an invalid value; the message says which.
        """
        if sorted(self.order) != list(range(N_MOTORS)):
            raise ValueError(f"order {self.order} must name each of 0 to {N_MOTORS - 1} once")
        if len(self.sign) != N_MOTORS or any(s not in (1.0, -1.0) for s in self.sign):
            raise ValueError(f"sign {self.sign} must be {N_MOTORS} times 1 or -1")
        if len(self.zero_rad) != N_MOTORS or not all(map(math.isfinite, self.zero_rad)):
            raise ValueError(f"zero_rad {self.zero_rad} must be {N_MOTORS} finite numbers")
        object.__setattr__(self, "_order", np.array(self.order))
        object.__setattr__(self, "_sign", np.array(self.sign))
        object.__setattr__(self, "_zero", np.array(self.zero_rad))

    def body_angle(self, board_rad: npt.ArrayLike) -> FloatArray:
        """Convert the board's encoder readings (8,) rad to motor angles of the body (8,) rad."""
        zero: FloatArray = self._sign * self._zero  # type: ignore[attr-defined]
        return self.body_values(board_rad) - zero

    def body_values(self, board: npt.ArrayLike) -> FloatArray:
        """Convert the board's velocities, currents or torques (8,) to the body's signs."""
        values = np.asarray(board, dtype=np.float64)[self._order]  # type: ignore[attr-defined]
        return np.asarray(self._sign * values)  # type: ignore[attr-defined]

    def body_order(self, board: npt.ArrayLike) -> FloatArray:
        """Convert unsigned values of the board (8,), such as temperatures, to the body's order."""
        return np.asarray(board, dtype=np.float64)[self._order]  # type: ignore[attr-defined]

    def board_angle(self, body_rad: FloatArray) -> FloatArray:
        """Convert motor angles of the body (8,) rad to the board's; the inverse of `body_angle`."""
        out = np.empty(N_MOTORS)
        out[self._order] = self._sign * body_rad + self._zero  # type: ignore[attr-defined]
        return out


def jig_motor_rad() -> FloatArray:
    """Motor angles of a robot in the calibration jig, (8,) rad."""
    return leg_to_motor(np.full(4, JIG_SWING_RAD), np.full(4, JIG_EXTENSION_RAD))


def measured_zeros(board_rad: npt.ArrayLike, wiring: Wiring) -> tuple[float, ...]:
    """Compute the zeros of a robot in the calibration jig.

    Args:
        board_rad: (8,) encoder readings of the board.
        wiring: order and signs; its zeros are not used.

    Returns:
        Zero of each motor of the body, rad in [-pi, pi].
    """
    shown = np.asarray(board_rad, dtype=np.float64)[list(wiring.order)]
    zero = shown - np.array(wiring.sign) * jig_motor_rad()
    return tuple(math.remainder(float(z), 2.0 * math.pi) for z in zero)
