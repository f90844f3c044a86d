# SPDX-License-Identifier: MIT
"""Random numbers of the twin's sensors, drawn many readings ahead.

A draw costs 35 us right after a physics step, which leaves nothing of NumPy in the processor's
caches, whether it is for one reading or for sixteen. The numbers are those of one draw a reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_READINGS = 16


class SensorNoise:
    """Standard normal numbers, so many per reading.

    Args:
        size: numbers per reading.
        seed: of them.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._rng = np.random.default_rng(seed)
        self._draw()

    def next(self) -> list[float]:
        """Of the next reading."""
        if self._used == _READINGS:
            self._draw()
        self._used += 1
        return self._drawn[self._used - 1]

    def state_dict(self) -> dict[str, Any]:
        """Where in its stream it is, as JSON can hold it."""
        return {"rng": self._before, "rng_readings": self._used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            KeyError: something is missing in it.
        """
        self._rng.bit_generator.state = state["rng"]
        self._draw()
        # States of before numbers were drawn ahead lack it: they are where the draw begins.
        self._used = int(state.get("rng_readings", 0))

    def _draw(self) -> None:
        self._before = self._rng.bit_generator.state
        drawn: list[list[float]] = self._rng.standard_normal((_READINGS, self._size)).tolist()
        self._drawn = drawn
        self._used = 0
