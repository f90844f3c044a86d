# SPDX-License-Identifier: MIT
"""The gamepad through SDL, with virtual pads: sticks, dead-man, buttons, hot-plug."""

import numpy as np
import pytest
from typer.testing import CliRunner

from walkhome.hardware.robot import Stop
from walkhome.robot.cli.app import app
from walkhome.robot.control.twin_plant import make_twin
from walkhome.robot.teleop.bindings import TeleopConfig
from walkhome.robot.teleop.controller import Teleop
from walkhome.robot.teleop.driver_input import TeleopError
from walkhome.robot.teleop.gamepad import GamepadSource
from walkhome.robot.teleop.telemetry import DriveState, Listeners

pygame = pytest.importorskip("pygame")


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def make_source(clock):
    made = []

    def make(name=None, **changes):
        config = TeleopConfig(gamepad=TeleopConfig().gamepad.model_copy(update=changes))
        made.append(GamepadSource(config, name, clock))
        return made[-1]

    yield make
    for source in made:
        source.close()


@pytest.fixture
def held(plug, make_source):
    """A pad whose trigger was pulled after it was seen released, and its source."""
    pad, source = plug(), make_source()
    assert not source.poll(0.0).held
    pad.pull(1.0)
    assert source.poll(0.0).held
    return pad, source


@pytest.mark.parametrize(
    ("axes", "task"),
    [
        ({}, None),
        ({"lefty": -1.0}, "forward"),  # SDL: up is negative
        ({"lefty": 1.0}, "backward"),
        ({"rightx": -1.0}, "left"),
        ({"rightx": 1.0}, "right"),
        ({"lefty": -0.3, "rightx": 0.2}, None),  # in the dead zone
        ({"lefty": -0.5, "rightx": 0.9}, "right"),
        ({"leftx": 1.0, "righty": 1.0}, None),
    ],
)
def test_sticks_choose_the_task(held, axes, task):
    pad, source = held
    for name, value in axes.items():
        pad.axis(name, value)
    driver_input = source.poll(0.0)
    assert driver_input.held
    assert driver_input.task == task


def test_without_the_trigger_the_stick_is_ignored(plug, make_source):
    pad, source = plug(), make_source()
    pad.axis("lefty", -1.0)
    pad.pull(0.3)
    driver_input = source.poll(0.0)
    assert not driver_input.held
    assert driver_input.task is None
    assert "hold righttrigger" in driver_input.note


def test_a_trigger_pulled_before_the_start_must_be_released_first(plug, make_source):
    pad = plug()
    pad.pull(1.0)
    source = make_source()
    assert not source.poll(0.0).held
    pad.pull(0.0)
    source.poll(0.0)
    pad.pull(1.0)
    assert source.poll(0.0).held


def test_buttons_stop(held):
    pad, source = held
    pad.press("b")
    driver_input = source.poll(0.0)
    assert driver_input.stop is Stop.SETTLE
    assert not driver_input.held
    pad.press("leftshoulder")
    assert source.poll(0.0).stop is None  # one shoulder button is no stop
    pad.press("rightshoulder")
    assert source.poll(0.0).stop is Stop.CUT


def test_a_cut_takes_precedence_over_settle(held):
    pad, source = held
    for name in ("leftshoulder", "rightshoulder", "b"):
        pad.press(name)
    assert source.poll(0.0).stop is Stop.CUT


def test_unknown_buttons_do_nothing(held):
    _, source = held
    number = source._id
    for kind in (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP):
        pygame.event.post(pygame.Event(kind, instance_id=number, button=20))  # a touchpad
    assert source.poll(0.0).held


def test_the_d_pad_changes_the_stride(held):
    pad, source = held
    for _ in range(2):
        pad.press("dpad_down")
        source.poll(0.0)
        pad.press("dpad_down", False)
        driver_input = source.poll(0.0)
    assert driver_input.scale == pytest.approx(0.8)


def test_a_silent_pad_counts_as_released(held, clock):
    pad, source = held
    clock.now_s += 0.49
    assert source.poll(0.0).held
    clock.now_s += 0.02
    driver_input = source.poll(0.0)
    assert not driver_input.held
    assert "no event" in driver_input.note
    pad.axis("lefty", -0.9)  # events again: the trigger must be released first
    assert not source.poll(0.0).held
    pad.pull(0.0)
    source.poll(0.0)
    pad.pull(1.0)
    assert source.poll(0.0).held


def test_a_pad_on_a_cable_may_be_silent(held, clock, monkeypatch):
    _, source = held
    # SDL has no wired virtual pads, so its report of the charge is replaced.
    monkeypatch.setattr(source, "battery", lambda: "wired")
    clock.now_s += 60.0
    assert source.poll(0.0).held
    assert source.poll(0.0).task is None


def test_unplugged_and_plugged_in_again(held, plug):
    pad, source = held
    pad.unplug()
    driver_input = source.poll(0.0)
    assert not driver_input.held
    assert "unplugged" in driver_input.note
    again = plug()
    again.pull(1.0)
    assert not source.poll(0.0).held
    again.pull(0.0)
    source.poll(0.0)
    again.pull(1.0)
    again.axis("lefty", -1.0)
    driver_input = source.poll(0.0)
    assert driver_input.held
    assert driver_input.task == "forward"


def test_unplugged_and_plugged_in_again_between_two_polls(held, plug):
    pad, source = held
    pad.unplug()
    again = plug()
    assert not source.poll(0.0).held
    again.pull(1.0)
    driver_input = source.poll(0.0)
    assert driver_input.held, driver_input.note


def test_a_cut_just_before_unplugging_counts(held):
    pad, source = held
    for name in ("leftshoulder", "rightshoulder"):
        pad.press(name)
    pygame.event.pump()  # SDL has received them
    pad.unplug()
    assert source.poll(0.0).stop is Stop.CUT
    assert "unplugged" in source.poll(0.0).note


def test_no_pad_two_pads_and_a_wrong_name(plug, make_source):
    with pytest.raises(TeleopError, match="no gamepad is plugged in"):
        make_source()
    plug()
    assert make_source().name == "Virtual Controller"
    with pytest.raises(TeleopError, match="--pad xbox: there is none; there are 1 'Virtual"):
        make_source("xbox")
    plug()
    with pytest.raises(TeleopError, match=r"several gamepads: 1 'Virtual.*, 2 'Virtual.*--pad"):
        make_source()
    with pytest.raises(TeleopError, match="there is none"):
        make_source("3")
    assert make_source("2").poll(0.0).held is False
    with pytest.raises(TeleopError, match="several"):
        make_source("virtual")


def test_the_second_pad_does_not_drive(plug, make_source):
    first, second = plug(), plug()
    source = make_source("1")
    source.poll(0.0)
    second.pull(1.0)
    second.press("b")
    driver_input = source.poll(0.0)
    assert not driver_input.held
    assert driver_input.stop is None
    first.pull(1.0)
    assert source.poll(0.0).held
    second.unplug()
    assert source.poll(0.0).held


def test_battery_and_name_are_reported(plug, make_source):
    plug()
    source = make_source()
    assert source.name == "Virtual Controller"
    assert source.battery() in ("empty", "low", "medium", "full", "max", "wired", "unknown")


class Hand:
    """Holds the pad while the twin walks; calls `then` once at `at_s` of driven time."""

    def __init__(self, pad, clock, then, at_s):
        self.pad, self.clock, self.then, self.at_s = pad, clock, then, at_s
        self.periods, self.done_at, self.sent_before = [], None, 0

    def __call__(self, period):
        self.clock.now_s += 0.02
        self.periods.append(period)
        driven_s = period.statistics.driven_s
        if self.done_at is None:
            self.pad.pull(
                0.9 + 0.02 * (len(self.periods) % 2)
            )  # a hand trembles, so events keep coming
            if period.drive_state is DriveState.DRIVING:
                self.pad.axis("lefty", -1.0)
            if driven_s > self.at_s:
                self.done_at = len(self.periods)
                self.then(self.pad)


END = {
    "unplug": lambda pad: pad.unplug(),
    "release": lambda pad: pad.pull(0.0),
    "settle": lambda pad: pad.press("b"),
    "silence": lambda pad: None,
}


@pytest.mark.parametrize("how", END)
def test_in_mid_stride_the_robot_settles(plug, make_source, clock, config, policies, how):
    pad, source = plug(), make_source()
    plant = make_twin(config, 1)
    sent = []
    command = plant.robot.command
    plant.robot.command = lambda c: sent.append(c) or command(c)
    hand = Hand(pad, clock, END[how], at_s=1.0)
    over = [False]

    def on_period(period):
        hand(period)
        if hand.done_at == len(hand.periods):
            hand.sent_before = len(sent)
        over[0] = hand.done_at is not None and len(hand.periods) > hand.done_at + 100

    events = []
    listeners = Listeners(on_period, lambda kind, fields: events.append((kind, fields)))
    teleop = Teleop(config, plant, policies, source, 0.3, listeners, lambda: over[0])
    try:
        statistics = teleop.run()
        walking = [
            m for m in hand.periods if m.drive_state is DriveState.DRIVING and m.gait == "forward"
        ]
        assert len(walking) > 20
        wait = 26 if how == "silence" else 1  # in periods: 0.5 s of silence, else the next one
        after = hand.periods[hand.done_at :]
        assert [m.drive_state for m in after].index(DriveState.SETTLED) <= wait
        assert all(m.drive_state is DriveState.SETTLED for m in after[wait:])
        assert len(sent) <= hand.sent_before + wait
        assert statistics.settles == 1
        why = {"unplug": "unplugged", "release": "hold", "settle": "button", "silence": "no event"}
        assert [f["why"] for kind, f in events if kind == "settle" and why[how] in f["why"]]
        state = plant.robot.read()
        # Limp on the floor: no motor turns, no torque.
        assert np.abs(plant.robot.shaft_torque_nm).max() == 0.0
        assert np.abs(state.motor_velocity_rad_s).max() < 2.0
    finally:
        plant.robot.close()


def test_the_command_refuses_without_a_pad(learned, plug):
    result = CliRunner().invoke(app, ["teleop", str(learned), "--gamepad"])
    assert result.exit_code == 2
    assert "no gamepad is plugged in" in result.stderr
    plug()
    plug()
    result = CliRunner().invoke(app, ["teleop", str(learned), "--gamepad"])
    assert result.exit_code == 2
    assert "choose with --pad" in result.stderr
