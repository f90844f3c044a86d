# SPDX-License-Identifier: MIT
"""How a board's motors are wired to the body: order, sign and zero of each, in one table.

docs/protocol.md asks a board for our order and signs (`hardware.body`), and then only the zeros
are left: what an encoder shows when its crank points where our angle is 0. Whoever repairs a robot
makes a new table (`robot calibrate`), and a table is only good for the board's own table that it
was measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from walkhome.hardware.body import leg_to_motor
from walkhome.hardware.constants import N_MOTORS

FloatArray = npt.NDArray[np.float64]

# The posture of the jig in which a robot is calibrated: legs straight down, both cranks level.
JIG_SWING_RAD = 0.0
JIG_EXTENSION_RAD = 0.5 * math.pi


@dataclass(frozen=True)
class Wiring:
    """Board numbers to body numbers and back.

    Attributes:
        order: our motor i is the board's motor `order[i]`; each occurs once.
        sign: +1 or -1: which way our motor i turns, seen by the board.
        zero_rad: what the board shows for our motor i when our angle is 0.
    """

    order: tuple[int, ...] = tuple(range(N_MOTORS))
    sign: tuple[float, ...] = (1.0,) * N_MOTORS
    zero_rad: tuple[float, ...] = (0.0,) * N_MOTORS

    def __post_init__(self) -> None:
        """Refuse what is no wiring.

        Raises:
            ValueError: with what is wrong.
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
        """(8,) rad, from what the board shows."""
        zero: FloatArray = self._sign * self._zero  # type: ignore[attr-defined]
        return self.body_values(board_rad) - zero

    def body_values(self, board: npt.ArrayLike) -> FloatArray:
        """(8,) velocities or torques, from what the board shows."""
        values = np.asarray(board, dtype=np.float64)[self._order]  # type: ignore[attr-defined]
        return np.asarray(self._sign * values)  # type: ignore[attr-defined]

    def body_order(self, board: npt.ArrayLike) -> FloatArray:
        """(8,) what has no direction, as temperatures."""
        return np.asarray(board, dtype=np.float64)[self._order]  # type: ignore[attr-defined]

    def board_angle(self, body_rad: FloatArray) -> FloatArray:
        """(8,) rad, for the board; the inverse of `body_angle`."""
        out = np.empty(N_MOTORS)
        out[self._order] = self._sign * body_rad + self._zero  # type: ignore[attr-defined]
        return out


def jig_motor_rad() -> FloatArray:
    """(8,) motor angles in the jig, rad."""
    return leg_to_motor(np.full(4, JIG_SWING_RAD), np.full(4, JIG_EXTENSION_RAD))


def measured_zeros(board_rad: npt.ArrayLike, wiring: Wiring) -> tuple[float, ...]:
    """The zeros of a robot that stands in the jig.

    Args:
        board_rad: (8,) what the board shows.
        wiring: order and signs; its zeros are not used.

    Returns:
        For each of our motors, in (-pi, pi].
    """
    shown = np.asarray(board_rad, dtype=np.float64)[list(wiring.order)]
    zero = shown - np.array(wiring.sign) * jig_motor_rad()
    return tuple(math.remainder(float(z), 2.0 * math.pi) for z in zero)
