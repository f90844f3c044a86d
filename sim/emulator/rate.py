# SPDX-License-Identifier: MIT
"""Fixed-rate trigger in simulated time."""

from __future__ import annotations

_ROUNDING_S = 1e-6  # far below a physics step, far above the rounding error of sums of steps


class FixedRateTrigger:
    """Triggers at a fixed rate, for the first time at 0 s.

    Args:
        rate_hz: triggers per second.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_s, self._next_s = 1.0 / rate_hz, 0.0

    def due(self, now_s: float) -> bool:
        """Return True once per period; periods that were missed entirely are not made up for.

        Args:
            now_s: simulated time; must not decrease.
        """
        # 60.01 s differs from 60 s + 10 ms in floating point: without the tolerance some periods
        # would be a step too long.
        if now_s < self._next_s - _ROUNDING_S:
            return False
        self._next_s += self._period_s
        if self._next_s <= now_s:
            self._next_s = now_s + self._period_s
        return True
