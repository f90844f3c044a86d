# SPDX-License-Identifier: MIT
"""What comes so many times a second, in the time of a simulation that makes steps."""

from __future__ import annotations

_ROUNDING_S = 1e-6  # far below a physics step, far above what sums of steps are wrong by


class Every:
    """A fixed grid of times, the first at 0.

    Args:
        rate_hz: of the grid.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_s, self._next_s = 1.0 / rate_hz, 0.0

    def due(self, now_s: float) -> bool:
        """Whether a time of the grid has come since the last one that was told; tells it once.

        Times that were missed altogether are not made up for.
        """
        # 60.01 s are not 60 s and 10 ms: without the tolerance some periods were a step too long.
        if now_s < self._next_s - _ROUNDING_S:
            return False
        self._next_s += self._period_s
        if self._next_s <= now_s:
            self._next_s = now_s + self._period_s
        return True
