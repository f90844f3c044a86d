# SPDX-License-Identifier: MIT
"""The emulated board through its port: protocol, standing, stopping in bounded time."""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bodies import MINITAUR
from twins import make_robot

from walkhome.hardware.robot import LinkLost
from walkhome.hardware.serial.link import SerialLink
from walkhome.hardware.serial.protocol import (
    SCHEMA_HASH,
    BoardFault,
    MessageType,
    Mode,
    encode,
    fields_of,
)
from walkhome.sim.emulator.board import BoardSettings, EmulatedBoard
from walkhome.sim.emulator.faults import FaultInvalid, InjectedFault

STANCE = MINITAUR.stance_motor_rad()
STEP_S = 0.002


class Bench:
    """A board and a host in one process; the test advances time."""

    def __init__(self, *faults, **settings):
        self.log = io.StringIO()
        twin = make_robot(seed=1)
        twin.place(np.array([0.0, 0.0, 0.24]), np.array([0.0, 0.0, 0.0, 1.0]), STANCE)
        parsed = [InjectedFault.parse(text) for text in faults]
        self.twin = twin
        self.board = EmulatedBoard(twin, BoardSettings(**settings), parsed, self.log)
        self.link = SerialLink(self.board.port)
        self.seq = 0
        self.frames = []

    def close(self):
        self.link.close()
        self.board.close()

    def send(self, kind, **fields):
        self.seq += 1
        self.link.send(encode(kind, fields, self.seq, 0))

    def run(self, seconds):
        for _ in range(round(seconds / STEP_S)):
            self.board.step()
            # What the board has written is there; asked whether it is, Linux first brings it.
            while self.link.wait(0.0):
                self.frames += self.link.read()

    def last(self, kind):
        found = [frame for frame in self.frames if frame.kind is kind]
        return fields_of(found[-1]) if found else None

    def arm(self):
        self.send(MessageType.HELLO, major=1, minor=0, schema=SCHEMA_HASH, session=3)
        self.run(0.02)
        self.send(MessageType.ARM, session=3, nonce=1, confirm=0)
        self.run(0.02)
        nonce = self.last(MessageType.ACK)["nonce"]
        self.send(MessageType.ARM, session=3, nonce=nonce, confirm=1)
        self.run(0.02)
        assert self.last(MessageType.STATE)["armed"]

    def hold(self, seconds, valid_ms=100):
        for _ in range(round(seconds / 0.02)):
            self.send(
                MessageType.COMMAND,
                session=3,
                mode=Mode.POSITION,
                reserved=0,
                valid_ms=valid_ms,
                torque_cap_nm=3.5,
                angle_rad=STANCE,
                velocity_rad_s=np.zeros(8),
                feed_forward=np.zeros(8),
                kp=np.full(8, 1.2),
                kd=np.full(8, 0.02),
            )
            self.run(0.02)

    def events(self, kind):
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == kind]


@pytest.fixture
def bench(request):
    made = Bench(*getattr(request, "param", ()))
    yield made
    made.close()


def test_it_stands_on_commands_over_the_wire(bench):
    bench.arm()
    bench.hold(1.0)
    state = bench.last(MessageType.STATE)
    assert bench.twin.true_state().position_m[2] > 0.15
    assert state["mode"] == Mode.POSITION
    assert state["faults"] == 0
    assert state["accepted"] == 50
    np.testing.assert_allclose(state["angle_rad"], STANCE, atol=0.4)
    assert state["attitude_xyzw"][3] > 0.99
    assert state["battery_v"] == 16.0
    assert bench.link.damaged == 0
    times = [frame.time_us for frame in bench.frames if frame.kind is MessageType.STATE]
    assert np.median(np.diff(times)) == pytest.approx(10_000, abs=2000)


def test_nobody_arms_it_nobody_moves_it(bench):
    bench.hold(0.3)
    assert bench.last(MessageType.STATE)["refused"] == 15
    assert bench.events("torque") == []


def test_a_silent_host_is_damped_in_100_ms_and_limp_after(bench):
    bench.arm()
    bench.hold(0.3)
    begin_s = bench.twin.time_s
    bench.run(1.0)
    (damped,) = [event for event in bench.events("mode") if event["mode"] == "DAMP"]
    assert damped["board_s"] - begin_s <= 0.1 + 0.012  # and a STATE frame to tell
    assert damped["faults"] == BoardFault.TIMEOUT
    assert bench.events("mode")[-1]["mode"] == "OFF"
    assert bench.events("limp")[-1]["board_s"] - begin_s <= 0.61


def test_estop_cuts_within_a_step(bench):
    bench.arm()
    bench.hold(0.3)
    begin_s = bench.twin.time_s
    bench.send(MessageType.ESTOP, nonce=1)
    bench.run(0.1)
    assert bench.events("limp")[-1]["board_s"] - begin_s <= 2 * STEP_S + 1e-9


@pytest.mark.parametrize("bench", [["mute@0.5:0.3"]], indirect=True)
def test_mute(bench):
    bench.run(0.5)
    heard = len(bench.frames)
    bench.run(0.3)
    assert len(bench.frames) - heard <= 2
    bench.run(0.2)
    assert len(bench.frames) - heard >= 15


@pytest.mark.parametrize("bench", [["garble@0.2:1.0"]], indirect=True)
def test_garbled_frames_are_counted_and_never_used(bench):
    bench.run(1.5)
    assert bench.link.damaged > 20
    for frame in bench.frames:
        assert fields_of(frame)["battery_v"] == 16.0


@pytest.mark.parametrize("bench", [["freeze@0.5:0.3"]], indirect=True)
def test_a_frozen_processor_lets_go_and_comes_back(bench):
    bench.arm()
    bench.hold(1.0)
    assert any(0.5 <= event["board_s"] <= 0.51 for event in bench.events("limp"))
    assert bench.events("fault")[-1]["active"] is False


@pytest.mark.parametrize(
    ("bench", "fault"),
    [(["brown-out@0.5"], BoardFault.BROWN_OUT), (["bad-imu@0.5"], BoardFault.IMU)],
    indirect=["bench"],
)
def test_battery_and_imu(bench, fault):
    bench.arm()
    bench.hold(1.2)
    state = bench.last(MessageType.STATE)
    assert state["faults"] == fault
    assert not state["armed"]


@pytest.mark.parametrize("bench", [["dead-motor@0.0"]], indirect=True)
def test_a_dead_motor_is_not_driven(bench):
    bench.arm()
    bench.hold(0.3)
    torque_nm = np.abs(bench.twin.shaft_torque_nm)
    assert torque_nm[3] < 0.1  # back-EMF only
    assert np.delete(torque_nm, 3).max() > 0.3


def test_unplugged_and_put_back_under_the_same_name(tmp_path):
    link = tmp_path / "robot"
    bench = Bench("unplug@0.2:0.2", link=str(link))
    assert os.readlink(link) == bench.board.port
    with pytest.raises(LinkLost):
        bench.run(0.3)
    bench.link.close()
    while bench.twin.time_s < 0.45:
        bench.board.step()
    bench.link = SerialLink(str(link))
    bench.frames.clear()
    bench.run(0.2)
    assert bench.last(MessageType.STATE) is not None
    bench.close()


def test_the_wire_is_as_slow_as_its_baud_rate():
    bench = Bench(baud=115_200)
    bench.run(1.0)
    size = len(encode(MessageType.STATE, fields_of(bench.frames[0]), 0, 0))
    assert len(bench.frames) * size <= 115_200 / 10 * 1.01
    assert len(bench.frames) < 60  # of 100 that it wanted to send
    bench.close()


def test_a_frame_takes_its_time_also_on_a_wire_that_was_idle():
    bench = Bench(state_rate_hz=10.0)
    bench.run(0.05)
    before = len(bench.frames)
    bench.run(0.052)  # the last step begins another frame
    assert len(bench.frames) == before
    bench.run(math.ceil(bench.board.settings.frame_s / STEP_S - 1.0) * STEP_S)
    assert len(bench.frames) == before + 1
    bench.close()


@pytest.mark.parametrize("text", ["nonsense", "mute@x", "mute@-1", "mute@1:0", "mute@nan"])
def test_bad_faults_are_refused(text):
    with pytest.raises(FaultInvalid):
        InjectedFault.parse(text)


def test_the_command_runs_a_board_of_its_own(tmp_path):
    link, log = tmp_path / "robot", tmp_path / "log.jsonl"
    command = [
        sys.executable,
        "-m",
        "walkhome.robot.cli",
        "emulate",
        "--link",
        link,
        "--log",
        log,
    ]
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert f"board on {link}" in process.stdout.readline()
        with SerialLink(str(link)) as port:
            port.send(
                encode(
                    MessageType.HELLO,
                    {"major": 1, "minor": 0, "schema": SCHEMA_HASH, "session": 1},
                    0,
                    0,
                )
            )
            kinds, deadline_s = set(), time.monotonic() + 10.0
            wanted = {MessageType.HELLO_ACK, MessageType.STATE}
            while not wanted <= kinds and time.monotonic() < deadline_s:
                port.wait(0.5)
                kinds |= {frame.kind for frame in port.read()}
            assert wanted <= kinds
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
    assert any(json.loads(line)["event"] == "plugged" for line in log.open())
