# SPDX-License-Identifier: MIT
"""How often a loop may be late before its host lets the robot down."""

from types import SimpleNamespace

import numpy as np
import pytest

from walkhome.hardware.robot import NotFit
from walkhome.robot.control.command_monitor import LATE_AT_ONCE, CommandMonitor


@pytest.fixture
def clock():
    return SimpleNamespace(period_s=0.02, late_s=0.0)


def periods(clock, late_s, watch):
    """Periods until it is said; None if it never is."""
    state = SimpleNamespace(time_s=0.0, motor_angle_rad=np.zeros(8))
    for k, late in enumerate(late_s):
        clock.late_s = late
        try:
            watch.check(state)
        except NotFit as late_error:
            return k + 1 if late_error.code == "late" else None
    return None


def test_in_a_row(clock):
    watch = CommandMonitor(clock, 0.025)
    assert periods(clock, [0.008] * 20, watch) == LATE_AT_ONCE
    assert periods(clock, [0.008] * 20, watch) == LATE_AT_ONCE  # begins anew


def test_now_and_then_is_borne(clock):
    assert periods(clock, [0.009, *[0.0] * 10] * 200, CommandMonitor(clock, 0.025)) is None
    assert periods(clock, [0.009, *[0.0] * 3] * 200, CommandMonitor(clock, 0.025)) < 40


def test_what_counts_is_what_the_supervisor_bears(clock):
    assert periods(clock, [0.0074] * 100, CommandMonitor(clock, 0.025)) is None
    assert periods(clock, [0.034] * 100, CommandMonitor(clock, 0.08)) is None
