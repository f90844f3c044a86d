# SPDX-License-Identifier: MIT
"""Every row of the fault matrix, as a robot's arming uses it."""

import math

import pytest

from walkhome.hardware.robot import Implausible, LinkLost, PoseLost, RobotError, RobotStopped
from walkhome.hardware.serial.handshake import why_stopped
from walkhome.hardware.serial.protocol import BoardFault
from walkhome.hardware.serial.telemetry import BoardStatus
from walkhome.safety.faults.budget import FaultBudget
from walkhome.safety.faults.matrix import FAULTS, GONE_S, PAUSE_LONGEST_S, Clears
from walkhome.safety.supervisor.heartbeat import Fired
from walkhome.safety.supervisor.manager import SupervisorManager


class Clock:
    """Says what it is told."""

    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def budget(clock):
    return FaultBudget(clock, ceiling=1000)


def again(budget, clock, code):
    """It happens, is gone at once, and clears; why a person is needed, and how long it took."""
    why = budget.report(RobotStopped("it stops", code))
    budget.gone()
    wait_s = budget.wait_s()
    if math.isfinite(wait_s):
        clock.s += wait_s
        assert budget.wait_s() == 0.0
    return why, wait_s


@pytest.mark.parametrize("code", [c for c, r in FAULTS.items() if r.clears is Clears.AUTO_BUDGET])
def test_within_its_budget_it_clears_with_growing_pauses_then_needs_a_person(budget, clock, code):
    rule = FAULTS[code]
    waits = []
    for k in range(rule.per_10_min):
        why, wait_s = again(budget, clock, code)
        assert why == ""
        assert budget.last["used"] == k + 1
        assert budget.last["budget"] == rule.per_10_min
        waits.append(wait_s)
    expected = [min(rule.pause_s * 2.0**k, PAUSE_LONGEST_S) for k in range(rule.per_10_min)]
    assert waits == pytest.approx(expected)
    assert budget.used() == {code: {"used": rule.per_10_min, "budget": rule.per_10_min}}
    why, wait_s = again(budget, clock, code)
    assert f"(limit {rule.per_10_min})" in why
    assert rule.text in why
    assert wait_s == math.inf


@pytest.mark.parametrize("code", [c for c, r in FAULTS.items() if r.clears is Clears.AUTO])
def test_what_clears_by_itself_has_no_budget(budget, clock, code):
    for _ in range(50):
        assert again(budget, clock, code) == ("", GONE_S)
    assert budget.used() == {}
    assert budget.counts == {code: 50}


@pytest.mark.parametrize(
    "code",
    [
        *(c for c, r in FAULTS.items() if r.clears in (Clears.OPERATOR, Clears.NEVER)),
        "what nobody knows",
    ],
)
def test_what_is_for_a_person_never_clears(budget, clock, code):
    why, wait_s = again(budget, clock, code)
    assert why.startswith(code)
    assert wait_s == math.inf


@pytest.mark.parametrize("code", [c for c, r in FAULTS.items() if r.clears is Clears.AUTO_BUDGET])
def test_after_ten_minutes_there_is_a_new_budget_but_not_for_ever(budget, clock, code):
    rule = FAULTS[code]
    for k in range(rule.per_24_h + 1):
        why, _ = again(budget, clock, code)
        assert (why == "") == (k < rule.per_24_h)
        clock.s += 601.0
    assert "in a day" in why


def test_it_is_not_over_before_it_is_gone(budget, clock):
    budget.report(LinkLost("it is out"))
    clock.s += 100.0
    assert budget.wait_s() == math.inf
    budget.gone()
    assert budget.wait_s() == pytest.approx(GONE_S)
    assert budget.waiting_for() == "link_lost"
    clock.s += 0.5 * GONE_S
    budget.again(LinkLost("out again"))  # the same fault, not another one
    assert budget.wait_s() == math.inf
    assert budget.used()["link_lost"]["used"] == 1
    budget.again(Implausible("another one, but the robot is limp"))
    assert "implausible" not in budget.used()


def test_all_faults_together_have_a_ceiling(clock):
    budget = FaultBudget(clock, ceiling=2)
    assert again(budget, clock, "pose_lost")[0] == ""
    assert again(budget, clock, "link_lost")[0] == ""
    assert "rearms_per_10_min" in again(budget, clock, "overheat")[0]
    clock.s += 601.0
    assert again(budget, clock, "late")[0] == ""


# -- who says which code ---------------------------------------------------------------------------


def test_every_error_of_a_robot_has_a_row():
    for error in (LinkLost, Implausible, PoseLost):
        assert error.code in FAULTS
    assert RobotError.code not in FAULTS  # what nobody foresaw cuts, and is for a person


@pytest.mark.parametrize(
    ("bits", "code"),
    [
        (BoardFault.TIMEOUT, "board_timeout"),
        (BoardFault.OVERHEAT, "overheat"),
        (BoardFault.BROWN_OUT, "battery"),
        (BoardFault.IMU, "imu"),
        (BoardFault.ESTOP, "estop"),
        (BoardFault.ESTOP | BoardFault.TIMEOUT | BoardFault.OVERHEAT, "estop"),
        (BoardFault.IMU | BoardFault.TIMEOUT, "imu"),
    ],
)
def test_a_boards_bits_are_a_code_the_most_severe_one(bits, code):
    status = BoardStatus(
        session=1, last_seq=0, mode=0, armed=False, faults=bits, refused=0, damaged=0, board_s=0.0
    )
    assert why_stopped(status, ours=True)[0] == code
    assert code in FAULTS
    assert why_stopped(status, ours=False)[0] == "board_reboot"


@pytest.mark.parametrize(
    ("fired", "code"),
    [
        (Fired.NO, "supervisor_lost"),
        (Fired.SILENT, "control_silent"),
        (Fired.GONE, "control_silent"),
        (Fired.ESTOP, "estop"),
    ],
)
def test_a_supervisors_trouble_is_a_code(fired, code):
    class Client:
        def __init__(self, limit_s, latch):
            self.fired = fired

        def alive(self):
            return False

    manager = SupervisorManager(0.03, start=Client)
    assert manager.trouble()
    assert manager.fault() == code
    assert code in FAULTS
