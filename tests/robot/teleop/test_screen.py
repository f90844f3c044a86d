# SPDX-License-Identifier: MIT
"""The driver's screen: its status line, its event lines, and terminals that block or close."""

import io
import json
import os
import pty
import termios
import time

import numpy as np
import pytest

from walkhome.robot.teleop.driver_input import DriverInput
from walkhome.robot.teleop.screen import Screen, SourceInfo, event_line, status_line
from walkhome.robot.teleop.telemetry import DrivePeriod, DriveState, DriveStatistics


def make_period(held=True, note="righttrigger held"):
    driver_input = DriverInput("forward", held, scale=0.8, note=note)
    zeros = np.zeros(8)
    return DrivePeriod(
        DriveState.DRIVING,
        driver_input,
        "forward",
        None,
        zeros,
        zeros,
        zeros,
        DriveStatistics(falls=3),
    )


def test_the_line_shows_dead_man_gait_stride_falls_pad_and_battery():
    pad = SourceInfo("Xbox Wireless Controller", "medium")
    line = status_line(make_period(), pad, 120)
    for text in ("[DRIVE]", "forward", "80%", "falls 3", pad.name, "battery medium"):
        assert text in line
    assert "[DRIVE]" not in status_line(make_period(held=False), SourceInfo(), 120)


@pytest.mark.parametrize(
    "note",
    ["hold righttrigger to drive", "let righttrigger go, then hold it", "cut: button pressed",
     "unplugged; plug it in again", "no event for 0.5 s"],
)  # fmt: skip
def test_80_columns_hold_the_battery_and_the_whole_note(note):
    line = status_line(make_period(note=note), SourceInfo("Xbox Wireless Controller", "medium"), 80)
    assert "battery medium" in line
    assert note in line


@pytest.mark.parametrize("columns", [5, 20, 80])
def test_the_line_fits_the_columns(columns):
    line = status_line(make_period(note="x" * 200), SourceInfo("y" * 200), columns)
    assert len(line) < max(11, columns)


def test_events_as_text():
    assert "stand -> left" in event_line("switch", {"robot_s": 1.0, "from": "stand", "to": "left"})
    assert "let go" in event_line("settle", {"robot_s": 1.0, "why": "let go"})
    assert event_line("stands", {"robot_s": 12.34, "attempts": 1}) == "   12.3 s  stands"


def test_json_output_holds_events_only():
    stream = io.StringIO()
    screen = Screen(SourceInfo, as_json=True, stream=stream)
    screen.say("for people")
    screen.period(make_period())
    screen.event("fall", {"robot_s": 2.0, "doing": "left"})
    assert json.loads(stream.getvalue()) == {"event": "fall", "robot_s": 2.0, "doing": "left"}


def test_a_halted_terminal_does_not_block_and_a_closed_one_is_ignored():
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    now = [0.0]
    screen = Screen(lambda: SourceInfo("pad"), stream=stream, clock=lambda: now[0])
    screen.period(make_period())
    assert b"[DRIVE]" in os.read(master, 65536)
    screen.period(make_period())  # too early for a redraw
    termios.tcflow(slave, termios.TCOOFF)  # Ctrl-S
    begin_s = time.monotonic()
    for _ in range(2000):
        now[0] += 1.0
        screen.period(make_period(note="x" * 60))
    assert time.monotonic() - begin_s < 60.0  # it did not block
    termios.tcflow(slave, termios.TCOON)
    os.close(master)
    screen.event("settle", {"robot_s": 0.0, "why": "lost"})
    screen.say("gone")
    stream.close()
