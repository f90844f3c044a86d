# SPDX-License-Identifier: MIT
"""The supervisor process on a pseudo-terminal: what it writes, when, and when it must not."""

import os
import pty
import select
import signal
import time
import tty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkhome.hardware.serial.protocol import Decoder, MessageType
from walkhome.safety.supervisor import estop
from walkhome.safety.supervisor.client import SupervisorClient, SupervisorLost, silence_limit_s
from walkhome.safety.supervisor.heartbeat import Fired, Heartbeat
from walkhome.safety.supervisor.process import STOP_FRAMES, verdict

LIMIT_S = 0.2  # generous: the machine may be busy, and the tests are not about that


class Wire:
    """A port whose other end counts the frames that arrive."""

    def __init__(self):
        self.board, self.port = pty.openpty()
        tty.setraw(self.port)
        os.set_blocking(self.port, False)
        self.decoder, self.kinds = Decoder(), []

    def hear(self, seconds):
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0:
            if select.select([self.board], [], [], left_s)[0]:
                self.kinds += [f.kind for f in self.decoder.feed(os.read(self.board, 4096))]
        return self.kinds

    def wait_for_stops(self):
        end_s = time.monotonic() + 10.0
        while self.kinds.count(MessageType.ESTOP) < STOP_FRAMES:
            assert time.monotonic() < end_s
            self.hear(0.01)

    def close(self):
        for descriptor in (self.board, self.port):
            os.close(descriptor)


@pytest.fixture
def wire():
    made = Wire()
    yield made
    made.close()


@pytest.fixture
def supervisor(wire, tmp_path):
    client = SupervisorClient(LIMIT_S, tmp_path / "estop.json")
    client.hand_over(wire.port)
    yield client
    client.close()


def beat_for(supervisor, wire, seconds):
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        supervisor.beat()
        wire.hear(0.01)


def test_it_is_silent_while_commands_come_and_while_none_are_due(supervisor, wire):
    assert wire.hear(2 * LIMIT_S) == []  # not watched
    supervisor.watch(True)
    beat_for(supervisor, wire, 2 * LIMIT_S)
    supervisor.watch(False)
    assert wire.hear(2 * LIMIT_S) == []
    assert supervisor.fired is Fired.NO
    assert supervisor.alive()


def test_silence_is_a_stop_and_stays_one_until_reset(supervisor, wire):
    supervisor.watch(True)
    wire.wait_for_stops()
    assert supervisor.fired is Fired.SILENT
    beat_for(supervisor, wire, 0.1)  # commands that come back change nothing
    assert supervisor.fired is Fired.SILENT
    supervisor.reset()
    assert supervisor.fired is Fired.NO
    supervisor.watch(True)
    beat_for(supervisor, wire, 0.1)
    assert supervisor.fired is Fired.NO
    wire.kinds.clear()
    wire.wait_for_stops()
    assert wire.hear(0.1).count(MessageType.ESTOP) == STOP_FRAMES  # and no flood


def test_half_a_frame_on_the_wire_does_not_hide_the_stop(supervisor, wire):
    os.write(wire.port, b"\x05half")
    wire.hear(0.05)
    supervisor.watch(True)
    wire.wait_for_stops()
    assert wire.decoder.damaged <= 1


def test_the_emergency_stop_needs_no_watching(supervisor, wire, tmp_path):
    estop.press("test", tmp_path)
    wire.wait_for_stops()
    assert supervisor.fired is Fired.ESTOP
    supervisor.reset()  # while it is pressed that is no use
    wire.kinds.clear()
    wire.wait_for_stops()
    estop.clear(tmp_path)
    supervisor.reset()
    wire.kinds.clear()
    assert wire.hear(0.1) == []


def test_a_signal_is_an_emergency_stop_and_the_terminals_are_not(supervisor, wire, tmp_path):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(supervisor.pid, number)
    assert wire.hear(0.1) == []
    os.kill(supervisor.pid, signal.SIGUSR1)
    wire.wait_for_stops()
    assert estop.read(tmp_path).reason == "a signal to the supervisor"


def test_a_port_that_is_handed_over_while_it_is_stopped_is_stopped_too(wire, tmp_path):
    estop.press("before", tmp_path)
    client = SupervisorClient(LIMIT_S, tmp_path / "estop.json")
    try:
        client.hand_over(wire.port)
        wire.wait_for_stops()
        client.take_back()
        other = Wire()
        client.hand_over(other.port)
        other.wait_for_stops()
        other.close()
    finally:
        client.close()


def test_it_outlives_the_control_process_for_the_stop_only(wire, tmp_path):
    client = SupervisorClient(10.0 / 10, tmp_path / "estop.json")
    client.hand_over(wire.port)
    client.watch(True)
    client.beat()
    client._socket.close()  # as the end of the process does
    wire.wait_for_stops()
    assert client.fired is Fired.GONE
    assert client._process.wait(5.0) == 0
    assert not client._heartbeat.looked_ago_s() < 0.0


def test_a_good_end_stops_nothing(wire, tmp_path):
    client = SupervisorClient(LIMIT_S, tmp_path / "estop.json")
    client.hand_over(wire.port)
    client.watch(True)
    client.watch(False)
    client.close()
    client.close()
    assert wire.hear(0.1) == []
    assert client._process.returncode == 0


def test_its_own_end_is_seen(supervisor):
    os.kill(supervisor.pid, signal.SIGKILL)
    end_s = time.monotonic() + 5.0
    while supervisor.alive():
        assert time.monotonic() < end_s
    with pytest.raises(SupervisorLost):
        supervisor.take_back()


def test_a_cable_that_is_out_does_not_end_it(supervisor, wire):
    supervisor.watch(True)
    os.close(wire.board)
    wire.board = os.dup(wire.port)
    end_s = time.monotonic() + 5.0
    while supervisor.fired is Fired.NO:
        assert time.monotonic() < end_s
    time.sleep(0.05)
    assert supervisor.alive()


@given(st.booleans(), st.integers(0, 10), st.booleans(), st.booleans())
def test_the_verdict(watched, silent, pressed, gone):
    why = verdict(watched, silent, 5, pressed, gone)
    assert (why is Fired.ESTOP) == pressed
    assert (why is Fired.NO) == (not pressed and not (watched and (gone or silent >= 5)))


@pytest.mark.parametrize(("rate_hz", "limit_s"), [(250, 0.025), (50, 0.025), (20, 0.025)])
def test_the_limit_leaves_room_for_one_period(rate_hz, limit_s):
    assert silence_limit_s(1.0 / rate_hz, 0.025) == pytest.approx(limit_s)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, float("nan"), float("inf"), 2.0])
def test_a_watchdog_can_not_be_switched_off(limit_s):
    with pytest.raises(ValueError, match="limit"):
        SupervisorClient(limit_s)


def test_both_sides_see_the_same_page():
    one = Heartbeat()
    other = Heartbeat(one.descriptor)
    one.watch(True)
    one.beat()
    one.beat()
    assert (other.watched, other.commands) == (True, 2)
    assert 0 <= time.monotonic_ns() - other.command_ns < 10**9
    other.fire(Fired.SILENT)
    other.look()
    assert one.fired is Fired.SILENT
    assert one.looked_ago_s() < 1.0
    os.close(one.descriptor)
