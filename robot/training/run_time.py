# SPDX-License-Identifier: MIT
"""What a run has taken of the host: time on the wall, and time of the processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class RunTime:
    """Counts on where an earlier process of the same run left off.

    Processor time is the own process's, of all its threads. With `learning.process: inline` that is
    all of a run's; a learner in a process of its own is not in it. Unlike time on the wall it
    hardly depends on what else the machine does.

    Args:
        wall_clock: monotonic seconds.
        cpu_clock: seconds of the processor.
    """

    def __init__(
        self,
        wall_clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._wall_clock, self._cpu_clock = wall_clock, cpu_clock
        self._wall_start_s, self._cpu_start_s = wall_clock(), cpu_clock()

    @property
    def wall_s(self) -> float:
        """Since the run's start, without the time between its processes."""
        return self._wall_clock() - self._wall_start_s

    @property
    def cpu_s(self) -> float:
        """Since the run's start."""
        return self._cpu_clock() - self._cpu_start_s

    def state_dict(self) -> dict[str, float]:
        """Both."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Count on from there; KeyError if one is missing."""
        self._wall_start_s = self._wall_clock() - float(state["wall_s"])
        self._cpu_start_s = self._cpu_clock() - float(state["cpu_s"])
