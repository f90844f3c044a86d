# SPDX-License-Identifier: MIT
"""Gradient steps in the time that control leaves over: owed by every step, paid between deadlines.

For a robot in real time whose learner lives in the control process. A step is only begun if it
fits, by what the last ones took; what does not fit waits for the stand-up and for pauses, and what
never fits shows in the achieved ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from robot.config_schema import Config
from robot.learning_setup import N_ACTIONS, make_learner, observation_layout

MAX_OWED = 2000  # more would be learned from long after the robot has moved on
SLACK = 1.1  # of the expected length, so that most of them end in time
FORGET = 0.2
DOUBT = 0.97


class IdleLearning:
    """Pays for gradient steps in spare time.

    Args:
        update: does that many gradient steps; returns how many it did.
        clock: monotonic seconds.

    Attributes:
        owed: gradient steps not done yet.
        asked: gradient steps asked for.
        done: gradient steps done.
    """

    def __init__(
        self, update: Callable[[int], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.owed = self.asked = self.done = 0
        self._update, self._clock = update, clock
        self._usual_s = 0.0

    def owe(self, count: int) -> None:
        """So many more."""
        self.asked += count
        self.owed = min(self.owed + count, MAX_OWED)

    def work(self, seconds: float) -> bool:
        """One gradient step, if it is owed and fits into so many seconds; whether it was done."""
        if not self.owed:
            return False
        if seconds < SLACK * self._usual_s:
            # One slow step (the first one is) must not be the last: believe in it less and less.
            self._usual_s *= DOUBT
            return False
        begin_s = self._clock()
        if not self._update(1):
            self.owed = 0  # nothing to learn from yet
            return False
        took_s = self._clock() - begin_s
        self._usual_s += FORGET * (took_s - self._usual_s)
        self.owed -= 1
        self.done += 1
        return True

    @property
    def share(self) -> float:
        """Part of the wanted updates that was done."""
        return self.done / self.asked if self.asked else 1.0


def warm_up(config: Config) -> None:
    """Do some gradient steps on nothing: torch's first ones take half a second.

    A robot that stands on its feet would be stopped by its board meanwhile.
    """
    learner = make_learner(config)
    nothing = np.zeros(observation_layout(config).size)
    costs = np.zeros(learner.n_constraints)
    for task in config.tasks:
        for _ in range(config.learning.batch_size):
            rewards = np.zeros(len(config.tasks))
            learner.add(nothing, np.zeros(N_ACTIONS), rewards, costs, nothing, False, task)
    learner.update(4 * len(config.tasks))
