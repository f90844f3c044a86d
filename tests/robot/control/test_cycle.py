# SPDX-License-Identifier: MIT
"""The control cycle: its order on both kinds of plant, its faults, and that there is one only."""

import ast
from pathlib import Path

import numpy as np
import pytest
from fake_robot import FakeClock, FakeRobot

from walkhome.hardware.robot import LinkLost, MotorCommand, Stop
from walkhome.robot.config.sections import EpisodeConfig
from walkhome.robot.control.cycle import ControlCycle, HandledFault
from walkhome.robot.control.period import Phase
from walkhome.robot.control.target import Done, Rest, Target
from walkhome.robot.control.twin_plant import TwinPlant

ROOT = Path(__file__).parents[3]
ROOMS = ("robot", "sim", "learning", "safety", "hardware")


class InRealTime(TwinPlant):
    """A plant whose next command does not wait for listeners, and whose faults can pass."""

    lockstep = False

    def recover(self, error):
        return error.code != "estop"


class Script:
    """A behaviour that returns the wishes of a list, one per period."""

    phase = Phase.HOLDING

    def __init__(self, *wishes, log=None):
        self.wishes, self.log = list(wishes), [] if log is None else log

    def start(self, state):
        self.log.append("start")

    def step(self, state, time_s):
        self.log.append("step")
        wish = self.wishes.pop(0)
        if isinstance(wish, Exception):
            raise wish
        return wish

    def check(self, period):
        self.log.append("check")
        return period


@pytest.fixture
def log():
    return []


@pytest.fixture
def make(log):
    """A cycle on a fake robot that logs what happens in which order."""

    def one(kind=TwinPlant, **more):
        robot = FakeRobot()
        clock = FakeClock(robot)
        command, read, tick = robot.command, robot.read, clock.tick
        robot.command = lambda c: (log.append("command"), command(c))[1]
        robot.read = lambda: (log.append("read"), read())[1]
        clock.tick = lambda: (log.append("wait"), tick())[1]
        plant = kind(robot, robot, clock, 0.025)
        listener = more.pop("listener", lambda period: log.append("tell"))
        return ControlCycle(plant, EpisodeConfig(), listener, **more)

    return one


def stance(robot):
    return Target(robot.body.stance_motor_rad(), 0.5, 0.005)


def test_in_lockstep_listeners_come_before_the_next_command(make, log):
    cycle = make()
    target = stance(cycle.plant.robot)
    assert cycle.run(Script(target, target, Done("over"), log=log)) == "over"
    period = ["step", "command", "wait", "read", "check", "tell"]
    assert log == ["read", "start", *period, *period, "step"]


def test_in_real_time_the_next_command_comes_before_listeners(make, log):
    cycle = make(InRealTime)
    target = stance(cycle.plant.robot)
    cycle.run(Script(target, target, Done(), log=log))
    period = ["step", "command", "wait", "read", "check"]
    expected = [*period, "step", "command", "tell", "wait", "read", "check", "step", "tell"]
    assert log == ["read", "start", *expected]


@pytest.mark.parametrize("kind", [TwinPlant, InRealTime])
def test_a_period_is_told_also_when_the_next_command_fails(make, log, kind):
    cycle = make(kind)
    with pytest.raises(ZeroDivisionError):
        cycle.run(Script(stance(cycle.plant.robot), ZeroDivisionError(), log=log))
    assert log.count("tell") == 1


def test_a_period_says_what_was_sent_and_what_followed(make):
    periods = []
    cycle = make(listener=periods.append)
    target = stance(cycle.plant.robot)
    cycle.run(Script(target, Rest(), Done()))
    first, second = periods
    assert first.phase is Phase.HOLDING
    assert first.target is target
    np.testing.assert_array_equal(first.sent_rad, target.angle_rad)
    assert second.state_before is first.state
    assert second.state is cycle.state
    assert second.state.time_s - first.state.time_s == pytest.approx(0.02)
    assert second.target is None
    assert not second.sent_rad.any()
    assert [entry for entry in cycle.plant.robot.log if isinstance(entry, MotorCommand)]


def test_a_behaviour_may_begin_at_the_newest_measurement(make, log):
    cycle = make()
    cycle.run(Script(Rest(), Done()))
    log.clear()
    cycle.run(Script(Done(), log=log), fresh=False)
    assert log == ["start", "step"]


def test_a_fall_is_seen_once_for_all(make):
    periods = []
    cycle = make(listener=periods.append)
    cycle.plant.robot.attitude = np.array([np.sin(0.5), 0.0, 0.0, np.cos(0.5)])  # roll of 1 rad
    cycle.run(Script(Rest(), Done()))
    assert periods[0].fell
    assert periods[0].roll_rad == pytest.approx(1.0)
    assert periods[0].pitch_rad == pytest.approx(0.0)


def test_a_blind_rest_bears_a_missing_measurement_and_a_command_does_not(make):
    cycle = make()
    cycle.run(Script(Done()))
    before, robot = cycle.state, cycle.plant.robot

    def lost():
        raise LinkLost("gone")

    robot.read = lost
    cycle.run(Script(Rest(blind=True), Done()), fresh=False)
    assert cycle.state is before
    with pytest.raises(LinkLost):
        cycle.run(Script(Rest(), Done()), fresh=False)


def test_a_fault_settles_the_robot_before_anything_else(make, log):
    heard = []
    cycle = make(
        InRealTime, on_fault=lambda error, trace: heard.append([*cycle.plant.robot.log, error.code])
    )
    error = LinkLost("gone")
    result = cycle.attempt(lambda: cycle.run(Script(error)))
    assert isinstance(result, HandledFault)
    assert (result.error, result.may_go_on) == (error, True)
    assert heard == [[Stop.SETTLE, "link_lost"]]


def test_a_fault_of_the_twin_is_an_error(make):
    cycle = make()
    with pytest.raises(LinkLost):
        cycle.attempt(lambda: cycle.run(Script(LinkLost("gone"))))
    assert cycle.plant.robot.log == [Stop.SETTLE]


def test_an_attempt_without_a_fault_returns_what_it_did(make):
    assert make().attempt(lambda: 7) == 7


# -- there is one control cycle --------------------------------------------------------------------


def calls_of(source, attributes):
    """Names (a.b.c) of the calls in `source` that end in one of `attributes`."""
    calls = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            if any(name.endswith(attribute) for attribute in attributes):
                calls.append(name)
    return calls


def test_only_the_cycle_waits_for_the_next_period():
    """A second control loop would have to wait for its clock."""
    found = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if calls_of(path.read_text(), (".clock.tick", "_clock.tick", "_inner.tick"))
    }
    # `PacedClock` passes the call on to the clock that it slows down.
    assert found == {"robot/control/cycle.py", "robot/control/clock.py"}


def test_only_the_cycle_handles_the_faults_of_a_robot():
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "robot").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and node.type is not None
        and "ROBOT_FAULTS" in ast.unparse(node.type)
    }
    assert found == {"robot/control/cycle.py"}


def test_a_second_loop_would_be_found():
    assert calls_of("def f(plant):\n    plant.clock.tick()\n", (".clock.tick",)) == [
        "plant.clock.tick"
    ]
