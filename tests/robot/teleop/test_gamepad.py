# SPDX-License-Identifier: MIT
"""The gamepad through SDL itself, with a virtual pad: sticks, dead-man, buttons, hot-plug."""

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
    """Wall time that a test turns."""

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
    """A pad whose trigger was pulled as it should: after it was seen released."""
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
def test_sticks_mean_tasks(held, axes, task):
    pad, source = held
    for name, value in axes.items():
        pad.axis(name, value)
    order = source.poll(0.0)
    assert order.held
    assert order.task == task


def test_without_the_trigger_nothing_counts(plug, make_source):
    pad, source = plug(), make_source()
    pad.axis("lefty", -1.0)
    pad.pull(0.3)
    order = source.poll(0.0)
    assert not order.held
    assert order.task is None
    assert "hold righttrigger" in order.note


def test_a_trigger_that_was_pulled_before_must_be_pulled_anew(plug, make_source):
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
    order = source.poll(0.0)
    assert order.stop is Stop.SETTLE
    assert not order.held
    pad.press("leftshoulder")
    assert source.poll(0.0).stop is None  # one shoulder is none
    pad.press("rightshoulder")
    assert source.poll(0.0).stop is Stop.CUT


def test_a_cut_wins_over_what_is_pressed_with_it(held):
    pad, source = held
    for name in ("leftshoulder", "rightshoulder", "b"):
        pad.press(name)
    assert source.poll(0.0).stop is Stop.CUT


def test_buttons_that_nobody_knows_do_nothing(held):
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
        order = source.poll(0.0)
    assert order.scale == pytest.approx(0.8)


def test_a_pad_that_says_nothing_is_lost(held, clock):
    pad, source = held
    clock.now_s += 0.49
    assert source.poll(0.0).held
    clock.now_s += 0.02
    order = source.poll(0.0)
    assert not order.held
    assert "no event" in order.note
    pad.axis("lefty", -0.9)  # it speaks again: the trigger must be let go first
    assert not source.poll(0.0).held
    pad.pull(0.0)
    source.poll(0.0)
    pad.pull(1.0)
    assert source.poll(0.0).held


def test_a_pad_on_a_cable_may_be_silent(held, clock, monkeypatch):
    _, source = held
    # SDL has no wired virtual pads; what it would say of one is all that is made up here.
    monkeypatch.setattr(source, "battery", lambda: "wired")
    clock.now_s += 60.0
    assert source.poll(0.0).held
    assert source.poll(0.0).task is None


def test_unplugged_and_plugged_in_again(held, plug):
    pad, source = held
    pad.unplug()
    order = source.poll(0.0)
    assert not order.held
    assert "unplugged" in order.note
    again = plug()
    again.pull(1.0)
    assert not source.poll(0.0).held
    again.pull(0.0)
    source.poll(0.0)
    again.pull(1.0)
    again.axis("lefty", -1.0)
    order = source.poll(0.0)
    assert order.held
    assert order.task == "forward"


def test_unplugged_and_plugged_in_again_while_nobody_asked(held, plug):
    pad, source = held
    pad.unplug()
    again = plug()
    assert not source.poll(0.0).held
    again.pull(1.0)
    order = source.poll(0.0)
    assert order.held, order.note


def test_a_cut_just_before_the_pad_is_gone_is_a_cut(held):
    pad, source = held
    for name in ("leftshoulder", "rightshoulder"):
        pad.press(name)
    pygame.event.pump()  # SDL has seen them
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
    order = source.poll(0.0)
    assert not order.held
    assert order.stop is None
    first.pull(1.0)
    assert source.poll(0.0).held
    second.unplug()
    assert source.poll(0.0).held


def test_the_battery_and_the_name_are_told(plug, make_source):
    plug()
    source = make_source()
    assert source.name == "Virtual Controller"
    assert source.battery() in ("empty", "low", "medium", "full", "max", "wired", "unknown")


class Hand:
    """Holds the pad while the twin walks, and does something to it at some time."""

    def __init__(self, pad, clock, then, at_s):
        self.pad, self.clock, self.then, self.at_s = pad, clock, then, at_s
        self.moments, self.done_at, self.sent_before = [], None, 0

    def __call__(self, moment):
        self.clock.now_s += 0.02
        self.moments.append(moment)
        driven_s = moment.statistics.driven_s
        if self.done_at is None:
            self.pad.pull(0.9 + 0.02 * (len(self.moments) % 2))  # a hand is never quite still
            if moment.drive_state is DriveState.DRIVING:
                self.pad.axis("lefty", -1.0)
            if driven_s > self.at_s:
                self.done_at = len(self.moments)
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
    rig = make_twin(config, 1)
    sent = []
    command = rig.robot.command
    rig.robot.command = lambda c: sent.append(c) or command(c)
    hand = Hand(pad, clock, END[how], at_s=1.0)
    over = [False]

    def period(moment):
        hand(moment)
        if hand.done_at == len(hand.moments):
            hand.sent_before = len(sent)
        over[0] = hand.done_at is not None and len(hand.moments) > hand.done_at + 100

    events = []
    listeners = Listeners(period, lambda kind, fields: events.append((kind, fields)))
    teleop = Teleop(config, rig, policies, source, 0.3, listeners, lambda: over[0])
    try:
        tally = teleop.run()
        walking = [
            m for m in hand.moments if m.drive_state is DriveState.DRIVING and m.gait == "forward"
        ]
        assert len(walking) > 20
        wait = 26 if how == "silence" else 1  # half a second of silence, else the next period
        after = hand.moments[hand.done_at :]
        assert [m.drive_state for m in after].index(DriveState.SETTLED) <= wait
        assert all(m.drive_state is DriveState.SETTLED for m in after[wait:])
        assert len(sent) <= hand.sent_before + wait
        assert tally.settles == 1
        why = {"unplug": "unplugged", "release": "hold", "settle": "button", "silence": "no event"}
        assert [f["why"] for kind, f in events if kind == "settle" and why[how] in f["why"]]
        state = rig.robot.read()
        # Limp on the floor: nothing turns, no torque.
        assert np.abs(rig.robot.shaft_torque_nm).max() == 0.0
        assert np.abs(state.motor_velocity_rad_s).max() < 2.0
    finally:
        rig.robot.close()


def test_the_command_refuses_without_a_pad(learned, plug):
    result = CliRunner().invoke(app, ["teleop", str(learned), "--gamepad"])
    assert result.exit_code == 2
    assert "no gamepad is plugged in" in result.stderr
    plug()
    plug()
    result = CliRunner().invoke(app, ["teleop", str(learned), "--gamepad"])
    assert result.exit_code == 2
    assert "choose with --pad" in result.stderr
