# SPDX-License-Identifier: MIT
"""SerialRobot against the board's C code on a pseudo-terminal: handshake, arming, stopping."""

import math
import os

import numpy as np
import pytest
from bodies import MINITAUR
from port_of_c import PortOfC

import walkhome.hardware.serial.connection as connection
from walkhome.hardware.robot import (
    Fault,
    Implausible,
    LinkDamaged,
    LinkLost,
    MotorCommand,
    RobotStopped,
    Stop,
)
from walkhome.hardware.serial.board import FIRST_TORQUE, SerialRobot
from walkhome.hardware.serial.handshake import BoardRefused
from walkhome.hardware.serial.link import PortRefused
from walkhome.hardware.serial.protocol import Decoder, MessageType, Mode, encode, fields_of
from walkhome.hardware.serial.wiring import Wiring

HALF = np.full(8, 0.5)


@pytest.fixture
def port():
    made = PortOfC()
    yield made
    made.unplug()


@pytest.fixture
def robot(port):
    made = port.robot(ease_in_s=0.0)
    made.open()
    yield made
    made.close()


def armed(port, robot):
    robot.arm()
    return robot


def hold(port, robot, seconds, angle=HALF, **changes):
    for _ in range(round(seconds / 0.02)):
        robot.command(MotorCommand(angle, kp=0.5, kd=0.005, **changes))
        port.run(0.02)
        state = robot.read()
    return state


def listen(port, robot, seconds):
    for _ in range(round(seconds / 0.02)):
        port.run(0.02)
        robot.read()


def commands(port):
    frames = Decoder().feed(port.heard)
    return [fields_of(f) for f in frames if f.kind is MessageType.COMMAND]


# -- who is there ----------------------------------------------------------------------------------


def test_the_handshake_says_who_is_there(port, robot):
    who = robot.identity
    assert (who.robot_id, who.zero_table, who.boot) == ("test-robot", 0xABCD, 77)
    assert who.protocol == (1, 0)
    assert who.valid_limit_s == pytest.approx(0.2)
    assert port.torque_steps == []


def test_another_protocol_version_is_refused(port, monkeypatch):
    monkeypatch.setattr(connection, "PROTOCOL_MAJOR", 2)
    with pytest.raises(BoardRefused, match="flash the firmware/"):
        port.robot().open()


def test_another_schema_is_refused(port, monkeypatch):
    monkeypatch.setattr(connection, "SCHEMA_HASH", 5)
    with pytest.raises(BoardRefused, match="uses other messages"):
        port.robot().open()


def test_a_board_that_another_program_has_armed_is_refused(port, robot):
    robot.arm()
    robot._session.close()  # the program hangs; its board is still armed
    with pytest.raises(BoardRefused, match="another program has armed"):
        port.robot().open()


def test_nobody_answers(port):
    port.frozen = True
    with pytest.raises(BoardRefused, match="no answer"):
        port.robot().open()


def test_a_gps_is_not_a_board(port):
    port.mangle = lambda said: b"$GPGGA,092750.000,5321.6802,N,00630.3372,W*76\r\n"
    with pytest.raises(BoardRefused, match="no frames of this protocol"):
        port.robot().open()


def test_a_modem_is_not_a_board(port):
    port.frozen = True
    step = port.step

    def echo():
        before = len(port.heard)
        step()
        if port.heard[before:]:
            os.write(port.master, port.heard[before:])

    port.step = echo
    with pytest.raises(BoardRefused, match="as a modem does"):
        port.robot().open()


def test_no_port(tmp_path):
    with pytest.raises(PortRefused, match="no such port"):
        SerialRobot(str(tmp_path / "none"), MINITAUR).open()


def test_what_a_program_left_half_sent_does_not_matter(port):
    with port.open_link(port.name, 921_600) as link:
        link.send(b"\x05half a fra")
    port.run(0.05)
    assert port.robot().open().robot_id == "test-robot"


# -- who may move it -------------------------------------------------------------------------------


def test_unarmed_it_sends_no_command(port, robot):
    with pytest.raises(RobotStopped, match="not armed"):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))
    port.run(0.1)
    assert commands(port) == []
    assert port.torque_steps == []


def test_armed_it_obeys(port, robot):
    state = hold(port, armed(port, robot), 0.2)
    assert port.torque_steps
    assert state.faults == Fault.NONE
    assert state.age_s < 0.02
    assert robot.telemetry.status.refused == 0
    assert 0.0 < robot.round_trip_s <= 0.03
    np.testing.assert_allclose(port.board.duty, 0.25, atol=1e-6)  # 0.5 * (0.5 - 0)


def test_what_is_beyond_the_board_is_cut_and_told(port, robot):
    armed(port, robot)
    sent = robot.command(
        MotorCommand(np.full(8, 99.0), kp=50.0, kd=-1.0, valid_s=9.0, torque_cap_nm=99.0)
    )
    assert np.abs(sent.angle_rad).max() == 12.0
    assert (sent.kp, sent.kd) == (2.0, 0.0)
    assert sent.valid_s == pytest.approx(0.2)
    assert sent.torque_cap_nm == pytest.approx(3.5)
    port.run(0.02)
    robot.read()
    assert robot.telemetry.status.refused == 0
    (told,) = commands(port)
    assert told["angle_rad"] == (12.0,) * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["angle", "kp", "kd", "valid_s", "torque_cap_nm"])
def test_what_is_not_finite_never_leaves(port, robot, bad, where):
    armed(port, robot)
    numbers = {"angle_rad": HALF.copy(), "kp": 0.5, "kd": 0.0, "valid_s": 0.1, "torque_cap_nm": 3.0}
    if where == "angle":
        numbers["angle_rad"][3] = bad
    else:
        numbers[where] = bad
    with pytest.raises(ValueError, match="not finite"):
        robot.command(MotorCommand(**numbers))
    port.run(0.02)
    assert commands(port) == []


def test_the_first_torque_is_small_and_grows(port):
    robot = port.robot(ease_in_s=1.0)
    robot.open()
    robot.arm()
    caps = []
    for _ in range(60):
        caps.append(
            robot.command(MotorCommand(HALF, kp=0.5, kd=0.0, torque_cap_nm=3.0)).torque_cap_nm
        )
        port.run(0.02)
        robot.read()
    assert caps[0] <= 3.0 * (FIRST_TORQUE + 0.05)
    assert all(np.diff(caps) >= 0.0)
    assert caps[-1] == pytest.approx(3.0)
    robot.close()


def test_arming_survives_a_bad_cable(port, robot):
    rng = np.random.default_rng(0)
    port.mangle = lambda said: b"" if rng.random() < 0.5 else said
    robot.arm()
    port.mangle = lambda said: said
    hold(port, robot, 0.1)


def test_a_latched_fault_forbids_arming(port, robot):
    robot.stop(Stop.CUT)
    port.run(0.02)
    with pytest.raises(BoardRefused, match="a fault is latched"):
        robot.arm()
    assert robot.clear_faults() == 0
    robot.arm()


def test_the_wiring_goes_both_ways(port):
    order = (1, 0, 3, 2, 4, 5, 6, 7)
    sign = (-1.0, 1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0)
    zero = (0.1, -0.2, 0.3, 0.0, 0.0, 0.5, 0.0, 0.0)
    robot = port.robot(Wiring(order, sign, zero), ease_in_s=0.0)
    robot.open()
    robot.arm()
    ours = np.linspace(0.2, 0.9, 8)
    robot.command(MotorCommand(ours, kp=0.5, kd=0.0))
    port.run(0.01)
    (told,) = commands(port)
    for motor in range(8):
        assert told["angle_rad"][order[motor]] == pytest.approx(
            sign[motor] * ours[motor] + zero[motor]
        )
    port.board.sensors.angle_rad[:] = told["angle_rad"]
    port.board.sensors.velocity_rad_s[:] = range(8)
    port.board.sensors.temperature_c[:] = range(30, 38)
    port.run(0.02)
    state = robot.read()
    np.testing.assert_allclose(state.motor_angle_rad, ours, atol=1e-6)
    np.testing.assert_allclose(state.motor_velocity_rad_s, np.array(sign) * np.array(order))
    np.testing.assert_allclose(state.motor_temperature_c, 30 + np.array(order))
    robot.close()


def test_an_armed_robot_is_not_rewired(port, robot):
    armed(port, robot)
    with pytest.raises(BoardRefused, match="disarm"):
        robot.rewire(Wiring())


# -- who stops it ----------------------------------------------------------------------------------


def test_settle_damps_and_cut_cuts(port, robot):
    port.board.sensors.velocity_rad_s[:] = [5.0] * 8
    hold(port, armed(port, robot), 0.1)
    robot.stop(Stop.SETTLE)
    port.run(0.02)
    assert port.board.state()["mode"] == Mode.DAMP
    port.run(0.6)
    assert port.board.state()["mode"] == Mode.OFF
    robot.open()
    robot.arm()
    hold(port, robot, 0.1)
    begin = port.steps
    robot.stop(Stop.CUT)
    port.run(0.1)
    assert port.torque_steps[-1] - begin <= 2
    with pytest.raises(RobotStopped):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))


def test_a_late_host_is_stopped_by_the_board_and_learns_of_it(port, robot):
    hold(port, armed(port, robot), 0.1, valid_s=0.1)
    begin = port.steps
    port.run(0.7)
    assert port.torque_steps[-1] - begin <= 101
    with pytest.raises(RobotStopped, match="commands came too late"):
        robot.read()
    with pytest.raises(RobotStopped, match="not armed"):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))


def test_a_repeated_command_is_held_no_longer_than_the_first(port, robot):
    hold(port, armed(port, robot), 0.1, valid_s=0.06)  # the newest one is 20 ms old by now
    modes = []
    for _ in range(10):  # ten milliseconds apart, and nothing new is said
        port.run(0.01)
        assert robot.repeat() == (len(modes) < 3)  # its 60 ms are over then
        modes.append(port.board.state()["mode"])
    assert modes[:3] == [Mode.POSITION] * 3  # 30, 40, 50 ms old
    assert modes[5:] == [Mode.DAMP] * 5  # from 70 ms on
    repeated_ms = [told["valid_ms"] for told in commands(port)][5:]
    assert all(a <= b for a, b in zip(repeated_ms, (30, 20, 10), strict=False))


def test_a_repeated_command_is_the_same_and_a_beat(port, robot):
    watchdog = Watching()
    robot.watched_by(watchdog)
    armed(port, robot)
    hold(port, robot, 0.02)
    assert robot.repeat()
    port.run(0.02)
    first, second = commands(port)[-2:]
    changing = {"valid_ms"}
    assert {k: v for k, v in first.items() if k not in changing} == {
        k: v for k, v in second.items() if k not in changing
    }
    assert watchdog.told == ["port", "watch", "beat", "beat"]


@pytest.mark.parametrize(
    "when", ["not armed", "nothing said yet", "settled", "unplugged", "armed anew"]
)
def test_what_must_not_be_repeated_is_not(port, robot, when):
    if when != "not armed":
        armed(port, robot)
    if when not in ("not armed", "nothing said yet"):
        hold(port, robot, 0.04, valid_s=0.1)  # longer than all that follows
    if when in ("settled", "armed anew"):
        robot.stop(Stop.SETTLE)
    if when == "armed anew":
        armed(port, robot)
    if when == "unplugged":
        port.unplug()
    before = len(commands(port))
    assert not robot.repeat()
    if when != "unplugged":
        port.run(0.02)
    assert len(commands(port)) == before


def test_it_hears_how_many_states_came_since_it_was_read(port, robot):
    hold(port, armed(port, robot), 0.6)
    robot.read()
    for states in (2, 0, 1):
        port.run(0.01 * states)
        heard = robot.heard()
        assert heard.states == states
        assert heard.period_s == pytest.approx(0.01, rel=0.05)
    assert robot.read().age_s < 0.01


@pytest.mark.parametrize("when", ["not armed", "armed for a moment", "settled", "unplugged"])
def test_it_hears_nothing_while_nothing_is_to_be_followed(port, robot, when):
    if when != "not armed":
        hold(port, armed(port, robot), 0.1 if when == "armed for a moment" else 0.6)
    if when == "settled":
        robot.stop(Stop.SETTLE)
    if when == "unplugged":
        port.unplug()
    assert robot.heard() is None
    if when == "unplugged":
        with pytest.raises(LinkLost):  # the reading says it
            robot.read()


def test_the_time_out_is_proved_without_torque(port, robot):
    took_s = robot.prove_timeout()
    assert 0.02 <= took_s <= 0.06
    assert port.torque_steps == []
    assert all(told["mode"] == Mode.OFF for told in commands(port))
    assert not robot.armed
    assert robot.telemetry.status.faults == 0
    robot.arm()


def test_a_board_without_a_time_out_is_refused(port, robot):
    step = port.step

    def keep_alive():
        """Firmware that repeats the last command to itself and never times out."""
        step()
        told = commands(port)
        if told and port.steps % 10 == 0:
            port.seq = getattr(port, "seq", robot._session._seq) + 1
            port.board.feed(encode(MessageType.COMMAND, told[-1], port.seq, 0))

    port.step = keep_alive
    with pytest.raises(BoardRefused, match="did not stop by itself"):
        robot.prove_timeout()
    assert port.torque_steps == []


def test_silence_is_a_lost_link(port, robot):
    hold(port, armed(port, robot), 0.1)
    port.mangle = lambda said: b""
    for _ in range(4):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))
        port.run(0.02)
        robot.read()
    port.run(0.06)
    with pytest.raises(LinkLost, match="no telemetry for"):
        robot.read()
    assert not robot.armed


def test_a_frozen_stream_is_silence(port, robot):
    hold(port, armed(port, robot), 0.1)
    last = []

    def repeat(said):
        if not last:
            last.append(said)
        return last[0]

    port.run(0.009)
    port.mangle = lambda said: repeat(said) if said else b""
    with pytest.raises((LinkLost, RobotStopped)):
        listen(port, robot, 0.2)
    assert robot.telemetry.stale > 3


def test_what_waited_in_a_queue_is_not_news(port, robot):
    """A host that was stopped for a while first reads frames from before the stop."""
    hold(port, armed(port, robot), 0.1)
    port.run(0.2)
    robot._session.pump()
    held = []
    port.mangle = lambda said: held.append(said) or b""
    port.run(0.3)
    os.write(port.master, b"".join(held)[:600])
    with pytest.raises((LinkLost, RobotStopped)):
        robot.read()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("angle_rad", math.nan, "motor angle"),
        ("velocity_rad_s", 1e30, "motor velocity"),
        ("temperature_c", math.inf, "temperature"),
        ("attitude_xyzw", 3.0, "quaternion"),
        ("angular_velocity_rad_s", 99.0, "angular velocity"),
        ("angle_rad", 80.0, "jump"),
    ],
)
def test_what_no_robot_says_is_refused_after_three(port, robot, name, value, why):
    hold(port, armed(port, robot), 0.1)
    good = robot.read()
    getattr(port.board.sensors, name)[2] = value
    robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))
    port.run(0.02)
    state = robot.read()  # two bad ones: the last good one still stands
    assert state.time_s == good.time_s
    port.run(0.02)
    with pytest.raises(Implausible, match=why):
        robot.read()
    assert not robot.armed


def test_one_glitch_does_not_stop_it(port, robot):
    hold(port, armed(port, robot), 0.1)
    port.board.sensors.angle_rad[2] = math.nan
    port.run(0.01)
    port.board.sensors.angle_rad[2] = 0.0
    hold(port, robot, 0.1)
    assert robot.telemetry.implausible == 1


def test_a_motor_that_is_off_stops_it(port, robot):
    armed(port, robot)
    port.board.sensors.torque_nm[4] = 3.0
    with pytest.raises(RobotStopped, match="strained too long"):
        hold(port, robot, 1.5)


# -- the cable -------------------------------------------------------------------------------------


def test_unplugged_it_says_so_and_stays_silent(port, robot):
    hold(port, armed(port, robot), 0.1)
    port.unplug()
    with pytest.raises(LinkLost, match="check cable"):
        robot.read()
    with pytest.raises(RobotStopped):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))
    robot.stop(Stop.SETTLE)
    robot.stop(Stop.CUT)
    robot.close()
    robot.close()


@pytest.mark.parametrize(
    ("changes", "what"),
    [({}, False), ({"boot": 78}, True)],
    ids=["the same", "started anew"],
)
def test_back_again(port, robot, changes, what):
    hold(port, armed(port, robot), 0.1)
    robot._session.close()
    if changes:
        port.board = type(port.board)(start_us=port.board.now_us, **changes)
    else:
        port.run(0.3)
    assert robot.reopen() is what
    assert robot.reconnects == 1
    assert not robot.armed
    robot.clear_faults()
    robot.arm()
    hold(port, robot, 0.1)


@pytest.mark.parametrize("changes", [{"robot_id": b"another"}, {"zero_table": 9}])
def test_another_robot_in_its_place_is_refused(port, robot, changes):
    hold(port, armed(port, robot), 0.1)
    robot._session.close()
    port.board = type(port.board)(start_us=port.board.now_us, **changes)
    for _ in range(2):
        with pytest.raises(BoardRefused, match="put the cable back"):
            robot.reopen()
        assert robot.identity.robot_id == "test-robot"


def test_a_board_that_restarts_unplugged_or_not_is_noticed(port, robot):
    hold(port, armed(port, robot), 0.1)
    port.board = type(port.board)(start_us=port.board.now_us + 5_000_000)
    port.board._core.transmit()
    with pytest.raises((RobotStopped, LinkLost)):
        hold(port, robot, 0.4)


def test_frames_that_get_damaged_are_never_used(port, robot):
    rng = np.random.default_rng(1)

    def garble(said):
        values = np.frombuffer(said, np.uint8).copy()
        values[rng.random(len(values)) < 0.0005] ^= 0x55  # one frame in nine
        return values.tobytes()

    port.mangle = garble
    robot.arm()
    for _ in range(100):
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.0))
        port.run(0.02)
        assert (robot.read().motor_angle_rad == 0.0).all()
    assert robot._session._link.damaged > 10


class Watching:
    """A watchdog that writes down what it is told."""

    def __init__(self):
        self.told, self.why = [], ""

    def hand_over(self, port):
        os.fstat(port)  # open
        self.told.append("port")

    def take_back(self):
        self.told.append("no port")

    def watch(self, on):
        self.told.append("watch" if on else "rest")

    def beat(self):
        self.told.append("beat")

    def trouble(self):
        return self.why

    def fault(self):
        return "supervisor_lost"


def test_a_watchdog_hears_of_every_port_and_every_command(port, robot):
    watchdog = Watching()
    robot.watched_by(watchdog)
    armed(port, robot)
    assert watchdog.told == ["port"]  # no torque yet, so nothing is due
    hold(port, robot, 0.06)
    robot.stop(Stop.SETTLE)
    assert watchdog.told == ["port", "watch", "beat", "beat", "beat", "rest"]
    watchdog.told.clear()
    robot.open()
    assert watchdog.told == ["rest", "no port", "port"]
    armed(port, robot)
    watchdog.why = "it is gone"
    with pytest.raises(RobotStopped, match="it is gone") as stopped:
        robot.read()
    assert stopped.value.code == "supervisor_lost"
    with pytest.raises(RobotStopped):  # and nothing goes out any more
        robot.command(MotorCommand(HALF, kp=0.5, kd=0.005))
    assert "beat" not in watchdog.told


def test_too_many_damaged_frames_stop_it_before_it_is_silence(port, robot):
    hold(port, armed(port, robot), 0.2)
    before = robot.counts()["damaged"]
    port.mangle = lambda said: said[:-5] + b"\x01\x02\x03\x04\0" if said else said
    with pytest.raises(LinkDamaged, match="check the cable") as damaged:
        hold(port, robot, 0.2)
    assert damaged.value.code == "link_damaged"
    assert not robot.armed
    port.mangle = lambda said: said
    robot.reopen()
    assert robot.counts()["damaged"] >= before + 8
    robot.clear_faults()
    robot.arm()
    hold(port, robot, 0.2)  # what was before is over


def test_a_damaged_frame_now_and_then_is_borne(port, robot):
    said = [0]

    def mangle(data):
        said[0] += bool(data)
        return data[:-5] + b"\x01\x02\x03\x04\0" if data and said[0] % 6 == 0 else data

    armed(port, robot)
    port.mangle = mangle
    hold(port, robot, 3.0)
    assert robot.counts()["damaged"] > 30
