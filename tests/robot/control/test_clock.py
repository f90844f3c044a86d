# SPDX-License-Identifier: MIT
"""Clocks on a time that the test moves: deadlines are kept, nothing adds up, nothing bursts."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.serial.telemetry import Heard
from walkhome.hardware.timing import Lateness
from walkhome.robot.control.clock import MEANWHILE_UNTIL_S, PacedClock, WallClock


class Time:
    def __init__(self):
        self.now_s = 50.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds > 0.0
        self.now_s += seconds


class Meanwhile:
    """Notes when it is called, and says that it told the robot something, or that it didn't."""

    def __init__(self, time, told=False):
        self.time, self.told, self.calls_s = time, told, []

    def __call__(self):
        self.calls_s.append(self.time.now_s - 50.0)
        return self.told


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


@pytest.mark.parametrize(
    ("rate_hz", "work_s", "calls_s"),
    [
        (50, 0.001, [0.008, 0.018]),
        (50, 0.0065, [0.008, 0.018]),
        (50, 0.0075, [0.018]),  # hardly later than the command
        (50, 0.0175, []),
        (50, 0.03, []),  # late: nothing to be told
        (20, 0.001, [0.008, 0.018, 0.028, 0.038, 0.048]),
        (100, 0.001, []),
        (250, 0.0, []),
    ],
)
def test_what_happens_meanwhile_happens_every_10_ms_and_last_2_ms_before_the_deadline(
    time, rate_hz, work_s, calls_s
):
    meanwhile = Meanwhile(time)
    clock = WallClock(rate_hz, time, time.sleep, meanwhile=meanwhile)
    time.now_s += work_s
    clock.tick()
    assert meanwhile.calls_s == pytest.approx(calls_s)
    assert time.now_s == pytest.approx(50.0 + max(1.0 / rate_hz, work_s))


def test_who_sleeps_too_long_says_so_late_and_once(time):
    meanwhile = Meanwhile(time)

    def oversleep(seconds):
        time.sleep(seconds + 0.015 * (not meanwhile.calls_s))

    clock = WallClock(20, time, oversleep, meanwhile=meanwhile)
    clock.tick()
    assert meanwhile.calls_s == pytest.approx([0.023, 0.028, 0.038, 0.048])
    assert clock.lateness.worst_s < 1e-6


def test_whoever_sleeps_over_the_last_call_is_late_and_calls_nobody(time):
    meanwhile = Meanwhile(time)
    clock = WallClock(50, time, lambda s: time.sleep(s + 0.015), meanwhile=meanwhile)
    clock.tick()  # called 15 ms after the 8th, and that is late already
    assert len(meanwhile.calls_s) == 1
    assert clock.lateness.worst_s == pytest.approx(0.003)


@pytest.mark.parametrize("told", [True, False])
def test_only_what_the_robot_was_told_ends_a_silence(time, told):
    sent = []
    timeline = SimpleNamespace(sent=lambda: sent.append(time.now_s - 50.0))
    clock = WallClock(50, time, time.sleep, timeline, Meanwhile(time, told))
    clock.tick()
    assert sent == pytest.approx([0.008, 0.018] if told else [])


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


def test_no_drift_over_hours(time):
    clock = WallClock(50, time, time.sleep)
    for _ in range(200_000):
        clock.tick()
    assert time.now_s == pytest.approx(50.0 + 200_000 * 0.02, abs=1e-9)
    assert (clock.lateness.misses, clock.achieved_hz) == (0, pytest.approx(50.0))


@given(st.lists(st.floats(0.0, 0.1), max_size=50))
def test_the_grid_never_moves_and_nothing_comes_in_a_burst(work_s):
    time = Time()
    clock, passed_s = WallClock(50, time, time.sleep), 0.0
    for seconds in work_s:
        time.now_s += seconds
        clock.tick()
        passed_s += clock.elapsed_s
        assert -1e-9 <= time.now_s - 50.0 - passed_s < 0.02 + 1e-9
    assert clock.lateness.count == len(work_s)
    assert clock.skipped <= sum(work_s) * 50.0


class States:
    """A robot that measures by a clock of its own."""

    def __init__(self, time, period_s, begins_s):
        self.time, self.period_s, self.begins_s, self.seen = time, period_s, begins_s, 0

    def count(self):
        return int((self.time.now_s - 50.0 - self.begins_s) / self.period_s)

    def read(self):
        self.seen = self.count()

    def heard(self):
        return Heard(self.count() - self.seen, self.period_s)


@pytest.mark.parametrize(
    ("rate_hz", "state_s", "begins_s"),
    [
        (50, 0.01, 0.0),
        (50, 0.01, 0.0029),
        (50, 0.01 * (1 + 2e-4), 0.007),  # their clock is slow
        (50, 0.02 * (1 - 2e-4), 0.011),
        (50, 0.004, 0.001),
        (20, 0.01, 0.009),
    ],
)
def test_the_grid_follows_the_robots_states(time, rate_hz, state_s, begins_s):
    states = States(time, state_s, begins_s)
    clock = WallClock(rate_hz, time, time.sleep, meanwhile=lambda: True, heard=states.heard)
    begun_s = []
    for k in range(2000):
        clock.tick()
        begun_s.append(time.now_s)
        states.read()
        time.now_s += 0.0005 * (k % 15)
    assert np.diff(begun_s) == pytest.approx(1.0 / rate_hz, abs=1e-4 + 1e-9)
    ages_s = np.remainder(np.array(begun_s[1000:]) - 50.0 - begins_s, state_s)
    np.testing.assert_allclose(ages_s, MEANWHILE_UNTIL_S, atol=2e-4)
    assert clock.lateness.worst_s < 1e-6


@pytest.mark.parametrize("heard", [Heard(0, 0.0147), Heard(0, 0.05), Heard(0, 0.0), None])
def test_states_that_no_phase_fits_move_nothing(time, heard):
    clock = WallClock(50, time, time.sleep, meanwhile=lambda: True, heard=lambda: heard)
    for k in range(1, 100):
        clock.tick()
        assert time.now_s == pytest.approx(50.0 + 0.02 * k, abs=1e-9)


def test_a_sleep_that_is_too_long_is_lateness_and_skips(time):
    clock = WallClock(50, time, lambda seconds: time.sleep(seconds + 0.05))
    clock.tick()
    assert clock.lateness.worst_s == pytest.approx(0.05)
    assert (clock.skipped, clock.lateness.misses) == (2, 1)
    assert clock.achieved_hz == pytest.approx(50.0 / 3)


def test_a_pause_that_was_meant_is_no_lateness(time):
    clock = WallClock(50, time, time.sleep)
    time.now_s += 5.0
    clock.restart()
    clock.tick()
    assert (clock.skipped, clock.lateness.worst_s) == (0, pytest.approx(0.0, abs=1e-9))


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


def test_misses_and_the_longest_run_of_them():
    lateness = Lateness(0.01)
    for late_s in (0.001, 0.02, 5.0, 0.02, 0.0, -1.0, 0.02):
        lateness.add(late_s)
    assert (lateness.misses, lateness.longest_run, lateness.run) == (4, 3, 1)
    assert lateness.summary()["max_ms"] == 5000.0
    assert lateness.summary()["misses"] == 4
    assert "misses" not in Lateness().summary()


def test_no_lateness_yet():
    assert Lateness().summary()["p99_ms"] == 0.0
    assert Lateness().rows() == []


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
