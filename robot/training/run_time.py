# SPDX-License-Identifier: MIT
"""Wall time and processor time of a run, summed over all processes that worked on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class RunTime:
    """Counts time from where an earlier process of the same run stopped.

    Processor time is this process's, over all its threads. With `learning.process: inline` that is
    the whole run; a learner in another process is not in it. Unlike wall time it hardly depends on
    what else the machine does.

    Args:
        wall_clock: monotonic time, s.
        cpu_clock: processor time, s.
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
        """Wall time of the run, s, without the time between its processes."""
        return self._wall_clock() - self._wall_start_s

    @property
    def cpu_s(self) -> float:
        """Processor time of the run, s."""
        return self._cpu_clock() - self._cpu_start_s

    def state_dict(self) -> dict[str, float]:
        """Both times in seconds."""
        return {"wall_s": self.wall_s, "cpu_s": self.cpu_s}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError: a time is missing.
        """
        wall_s, cpu_s = float(state["wall_s"]), float(state["cpu_s"])
        self._wall_start_s = self._wall_clock() - wall_s
        self._cpu_start_s = self._cpu_clock() - cpu_s
