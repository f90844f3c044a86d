# SPDX-License-Identifier: MIT
"""Real time on a clock that the test moves: no drift, no bursts, and work only where it fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.clock import WallClock
from robot.idle_learning import MAX_OWED, IdleLearning
from robot.timing import Lateness


class Time:
    def __init__(self):
        self.now_s = 50.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds > 0.0
        self.now_s += seconds


@pytest.fixture
def time():
    return Time()


def test_periods_follow_each_other_exactly(time):
    clock = WallClock(50, time, time.sleep)
    for k in range(1, 1000):
        time.now_s += 0.001 * (k % 15)  # work of different length
        clock.tick()
        assert time.now_s == pytest.approx(50.0 + 0.02 * k, abs=1e-9)
        assert clock.elapsed_s == pytest.approx(0.02)
    assert clock.skipped == 0
    assert clock.lateness.worst_s < 1e-6


def test_a_late_tick_does_not_move_the_next_ones(time):
    clock = WallClock(50, time, time.sleep)
    time.now_s += 0.033  # 13 ms late
    clock.tick()
    assert time.now_s == pytest.approx(50.033)
    clock.tick()
    assert time.now_s == pytest.approx(50.04)
    assert clock.skipped == 0
    assert clock.lateness.worst_s == pytest.approx(0.013)


def test_missed_periods_are_skipped_in_phase(time):
    clock = WallClock(50, time, time.sleep)
    time.now_s += 0.075
    clock.tick()  # due at .02; .04 and .06 went by
    assert clock.skipped == 2
    assert clock.elapsed_s == pytest.approx(0.06)
    clock.tick()
    assert time.now_s == pytest.approx(50.08)


def test_a_pause_that_was_meant_is_no_lateness(time):
    clock = WallClock(50, time, time.sleep)
    time.now_s += 5.0
    clock.restart()
    clock.tick()
    assert (clock.skipped, clock.lateness.worst_s) == (0, pytest.approx(0.0, abs=1e-9))


def test_spare_time_is_worked_in_and_deadlines_are_kept(time):
    clock, done = WallClock(50, time, time.sleep), []

    def update(count):
        time.now_s += 0.006
        done.append(time.now_s)
        return count

    learning = IdleLearning(update, time)
    clock.idle = learning.work
    learning.owe(2)
    for k in range(1, 4):
        clock.tick()
        late_s = time.now_s - (50.0 + 0.02 * k)
        assert late_s == pytest.approx(0.0, abs=1e-9)
    assert len(done) == 2
    assert learning.share == 1.0


def test_what_does_not_fit_waits(time):
    def update(count):
        time.now_s += 0.03
        return count

    learning = IdleLearning(update, time)
    learning.owe(10)
    for _ in range(20):
        learning.work(10.0)
    learning.owe(5)
    assert not learning.work(0.02)
    assert learning.owed == 5
    assert learning.work(0.04)
    assert (learning.done, learning.asked) == (11, 15)


def test_one_slow_step_is_not_the_last(time):
    slow = [0.5]

    def update(count):
        time.now_s += slow.pop() if slow else 0.005
        return count

    learning = IdleLearning(update, time)
    learning.owe(500)
    for _ in range(600):
        learning.work(0.018)
    assert learning.done > 400


def test_debts_are_bounded_and_an_empty_replay_owes_nothing(time):
    learning = IdleLearning(lambda count: 0, time)
    learning.owe(10 * MAX_OWED)
    assert learning.owed == MAX_OWED
    assert not learning.work(1.0)
    assert learning.owed == 0


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=300))
def test_quantiles_are_never_below_the_truth_by_more_than_a_bin(values):
    lateness = Lateness()
    for value in values:
        lateness.add(value)
    for share in (0.5, 0.99, 0.999):
        true = np.quantile(values, share, method="inverted_cdf")
        assert lateness.quantile(share) >= min(true, lateness.worst_s) * (1 - 1e-9) - 1e-6
        assert lateness.quantile(share) <= max(true * 1.13, 1.2e-6)
    assert lateness.worst_s == max(values)
    assert sum(count for _, _, count in lateness.rows()) == len(values)


def test_no_lateness_yet():
    assert Lateness().summary()["p99_ms"] == 0.0
    assert Lateness().rows() == []
