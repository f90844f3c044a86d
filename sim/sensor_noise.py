# SPDX-License-Identifier: MIT
"""Random numbers for the twin's sensors, drawn several readings ahead.

A draw takes 35 us right after a physics step, which evicts NumPy from the processor's caches, no
matter whether it is for one reading or for sixteen. The numbers are the same as with one draw per
reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_READINGS = 16


class SensorNoise:
    """Standard normal numbers for readings of a fixed size.

    Args:
        size: numbers per reading.
        seed: random seed.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._draw()

    def next(self) -> list[float]:
        """Numbers of the next reading."""
        if self._used == _READINGS:
            self._draw()
        self._used += 1
        return self._drawn[self._used - 1]

    def state_dict(self) -> dict[str, Any]:
        """Position in the random stream, as JSON values."""
        return {"rng": self._before, "rng_readings": self._used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a value is missing.
        """
        self._rng.bit_generator.state = state["rng"]
        self._draw()
        # Older states lack it; they were saved at the beginning of a draw.
        self._used = int(state.get("rng_readings", 0))

    def _draw(self) -> None:
        self._before = self._rng.bit_generator.state
        drawn: list[list[float]] = self._rng.standard_normal((_READINGS, self._size)).tolist()
        self._drawn = drawn
        self._used = 0
