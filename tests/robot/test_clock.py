# SPDX-License-Identifier: MIT
"""A paced clock keeps its deadlines, adds nothing up, and never hurries after lost time."""

import pytest

from robot.clock import PacedClock


class Inner:
    """A twin whose period costs some wall time to compute."""

    period_s = 0.02

    def __init__(self, wall, costs):
        self.wall, self.costs, self.ticks = wall, costs, 0

    def now_s(self):
        return self.ticks * self.period_s

    def tick(self):
        self.ticks += 1
        self.wall[0] += next(self.costs)


def run(costs, oversleeps=0.0):
    wall, ends = [100.0], []

    def sleep(seconds):
        assert seconds >= 0.0
        wall[0] += seconds + oversleeps * (seconds > 0)

    clock = PacedClock(Inner(wall, iter(costs)), lambda: wall[0], sleep)
    for _ in costs:
        clock.tick()
        ends.append(wall[0] - 100.0)
    return clock, ends


def test_ticks_keep_their_phase_whatever_they_cost():
    clock, ends = run([0.004, 0.019, 0.0, 0.011] * 50, oversleeps=0.0005)
    assert ends[-1] == pytest.approx(200 * 0.02 + 0.0005)  # one late wake-up, not two hundred
    assert clock.now_s() == pytest.approx(4.0)
    assert clock.period_s == 0.02


def test_a_late_tick_is_not_made_up_for():
    _, ends = run([0.0, 0.3, 0.0, 0.0])
    assert ends == pytest.approx([0.02, 0.32, 0.34, 0.36])
