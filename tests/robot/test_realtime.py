# SPDX-License-Identifier: MIT
"""Deadlines and lateness, on a clock that the test turns; stops on a real board process."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.realtime import Lateness, RealTimeClock

ROOT = Path(__file__).parents[2]


class Hands:
    """A clock, and a sleep that moves it: as long as asked, plus what the test says."""

    def __init__(self):
        self.now_s, self.extra_s = 100.0, 0.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds > 0.0
        self.now_s += seconds + self.extra_s
        self.extra_s = 0.0


def make(rate_hz=50.0):
    hands = Hands()
    return hands, RealTimeClock(rate_hz, None, hands, hands.sleep)


@given(st.lists(st.floats(0.0, 0.1), max_size=50))
def test_the_grid_never_moves_and_nothing_comes_in_a_burst(work_s):
    hands, clock = make()
    last_s = -1.0
    for seconds in work_s:
        hands.now_s += seconds
        clock.tick()
        slot = (hands.now_s - 100.0) * 50.0
        assert clock.now_s() - last_s > 0.0
        # A tick is on the grid, unless the work ran into its slot, which it then may use up.
        late_s = (slot - int(slot + 1e-6)) * 0.02
        assert abs(slot - round(slot)) < 1e-6 or seconds > 0.02 - 1e-6 or late_s < 0.02
        last_s = hands.now_s
    assert clock.lateness.ticks == len(work_s)
    assert clock.skipped <= sum(work_s) * 50.0


def test_no_drift_over_hours():
    hands, clock = make()
    for _ in range(500_000):  # nearly three hours
        clock.tick()
    assert hands.now_s == pytest.approx(100.0 + 500_000 * 0.02, abs=1e-9)
    assert clock.lateness.misses == 0


def test_overslept_periods_are_skipped_and_counted():
    hands, clock = make()
    clock.tick()
    hands.now_s += 0.075  # three deadlines and a half
    before_s = hands.now_s
    clock.tick()
    assert clock.skipped == 2
    assert hands.now_s == before_s  # the newest deadline has passed: no waiting
    assert clock.lateness.misses == 1
    clock.tick()
    assert hands.now_s == pytest.approx(100.0 + 5 * 0.02)  # in phase again
    assert clock.lateness.run == 0


def test_a_sleep_that_is_too_long_is_lateness():
    hands, clock = make()
    hands.extra_s = 0.003
    clock.tick()
    assert clock.lateness.worst_s == pytest.approx(0.003)
    assert clock.lateness.quantile_s(1.0) == pytest.approx(0.003)


def test_quantiles_are_those_of_the_samples_up_to_a_bucket():
    lateness = Lateness(0.01)
    for i in range(1000):
        lateness.add(1e-5 * (i + 1))
    for share in (0.5, 0.99, 0.999):
        assert 1e-2 * share <= lateness.quantile_s(share) <= 1.13e-2 * share
    assert (lateness.misses, lateness.longest_run) == (0, 0)
    for late_s in (0.02, 5.0, 0.02, 0.0, -1.0, 0.02):
        lateness.add(late_s)
    assert (lateness.misses, lateness.longest_run) == (4, 3)
    assert lateness.worst_s == 5.0
    assert sum(count for _, count in lateness.histogram()) == lateness.ticks == 1006
    assert lateness.summary()["worst_ms"] == 5000.0
    assert Lateness(1.0).summary()["p99_ms"] == 0.0


PRIORITISE = """
import gc, json, os, subprocess, sys
from hardware.priority import prioritise
granted = prioritise(50)
child = subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"],
                       capture_output=True, text=True).stdout
print(json.dumps([granted.scheduler, granted.memory, granted.refused, gc.isenabled(),
                  os.sched_getscheduler(0) & 0xF == os.SCHED_FIFO, int(child)]))
"""


def test_priority_is_granted_or_it_is_said_why_not():
    done = subprocess.run(
        [sys.executable, "-c", PRIORITISE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    scheduler, memory, refused, collects, is_fifo, child = json.loads(done.stdout)
    assert not collects
    assert is_fifo == scheduler
    assert child == os.SCHED_OTHER  # what it starts is ordinary again
    assert len(refused) == (not scheduler) + (not memory)
    assert all("limits.d" in text for text in refused)
    assert gc.isenabled()  # here


@pytest.mark.timeout(120)
def test_whatever_dies_the_boards_own_log_says_that_it_stopped():
    """Times are for `benchmarks/realtime.py`; here: it stops each time, and by whom."""
    command = [sys.executable, ROOT / "benchmarks" / "realtime.py", "--stop", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    stops = json.loads(done.stdout.splitlines()[-1])["stop"]
    assert set(stops) == {"killed", "frozen", "both", "estop"}
    for case, found in stops.items():
        assert found["trials"] == 3
        assert found["never_stopped"] == 0, (case, found)
        assert found["by_supervisor"] == (0 if case == "both" else 3), (case, found)
