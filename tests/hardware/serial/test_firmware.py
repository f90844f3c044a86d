# SPDX-License-Identifier: MIT
"""The board's C code: the same bytes as the Python codec, and the rules of docs/protocol.md."""

import ctypes
import math

import numpy as np
import pytest
from board_of_c import Board, WireFrame
from frames import golden, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from walkhome.hardware.serial.protocol import (
    MAX_ENCODED,
    SCHEMA_HASH,
    AckCode,
    BoardFault,
    Decoder,
    MessageType,
    Mode,
    encode,
    encode_payload,
    payload_size,
)
from walkhome.sim.emulator.core import library


@pytest.fixture(name="library")
def compiled():
    return library()


@pytest.fixture
def board():
    made = Board()
    made.hello()
    return made


@pytest.fixture
def armed(board):
    assert board.arm() == AckCode.OK
    return board


# -- codec -----------------------------------------------------------------------------------------


def c_encode(library, frame):
    wire = WireFrame(frame.kind, frame.flags, frame.seq, frame.time_us, len(frame.payload))
    ctypes.memmove(wire.payload, frame.payload, len(frame.payload))
    out = ctypes.create_string_buffer(MAX_ENCODED + 1)
    size = library.wh_encode(ctypes.byref(wire), out)
    return out.raw[:size]


def c_decode(library, piece):
    wire = WireFrame()
    if library.wh_decode(piece, ctypes.c_size_t(len(piece)), ctypes.byref(wire)) != 0:
        return None
    return (wire.type, wire.flags, wire.seq, wire.time_us, bytes(wire.payload[: wire.size]))


def test_sizes_and_hash_are_those_of_the_host(library):
    for kind in range(256):
        expected = payload_size(MessageType(kind)) if kind in set(MessageType) else -1
        assert library.wh_payload_size(ctypes.c_uint8(kind)) == expected
    assert Board().hello()["schema"] == SCHEMA_HASH


def test_golden_frames(library):
    for name, data in golden():
        (frame,) = Decoder().feed(data)
        assert c_encode(library, frame) == data, name
        assert c_decode(library, data[:-1]) is not None


def test_both_codecs_agree(library):
    @settings(max_examples=200)
    @given(messages())
    def agree(message):
        data = encode(*message)
        (frame,) = Decoder().feed(data)
        assert c_encode(library, frame) == data
        kind, flags, seq, time_us, payload = c_decode(library, data[:-1])
        assert (kind, flags, seq, time_us) == (frame.kind, frame.flags, frame.seq, frame.time_us)
        assert payload == frame.payload

    agree()


def test_both_decoders_accept_the_same_bytes(library):
    """Arbitrary bytes, and frames with bytes removed, added or flipped."""

    @settings(max_examples=400)
    @given(st.binary(max_size=MAX_ENCODED + 20), messages(), st.data())
    def agree(noise, message, data):
        frame = bytearray(encode(*message)[:-1])
        place = data.draw(st.integers(0, len(frame) - 1))
        frame[place] ^= data.draw(st.integers(0, 255))
        for piece in (noise, bytes(frame), bytes(frame[:place]), bytes(frame) + noise):
            if 0 in piece or not piece:
                continue  # delimiters never reach a decoder
            ours = list(Decoder().feed(piece + b"\0"))
            theirs = c_decode(library, piece)
            assert (theirs is not None) == (len(ours) == 1)

    agree()


@pytest.mark.parametrize("size", [200, 74])
def test_runs_without_zeros_as_long_as_cobs_blocks(library, size):
    kind = MessageType.STATE if size == 200 else MessageType.HELLO_ACK
    data = encode_payload(kind, b"\xaa" * size, 0x0101, 0x01010101, 1)
    (frame,) = Decoder().feed(data)
    assert c_encode(library, frame) == data


# -- session and arming ----------------------------------------------------------------------------


def test_hello_says_who_it_is():
    said = Board().hello(session=42)
    assert (said["code"], said["session"], said["motors"]) == (AckCode.OK, 42, 8)
    assert said["robot_id"].rstrip(b"\0") == b"test-robot"
    assert (said["boot"], said["zero_table"], said["valid_limit_ms"]) == (77, 0xABCD, 200)
    assert said["torque_limit_nm"] == 3.5


def test_strangers_are_refused():
    board = Board()
    assert board.hello(major=2)["code"] == AckCode.WRONG_MAJOR
    assert board.hello(schema=SCHEMA_HASH ^ 1)["code"] == AckCode.WRONG_SCHEMA
    assert board.arm() == AckCode.WRONG_SESSION  # neither made a session
    board.hello(session=5)
    assert board.arm(session=6) == AckCode.WRONG_SESSION
    assert board.arm(session=5) == AckCode.OK
    assert board.hello(session=6)["code"] == AckCode.BUSY
    assert board.state()["session"] == 5


def test_arming_takes_two_steps_and_the_right_answer(board):
    ((_, asked),) = board.send(MessageType.ARM, session=5, nonce=1, confirm=0)
    assert asked["code"] == AckCode.CHALLENGE
    wrong = asked["nonce"] ^ 1
    ((_, answer),) = board.send(MessageType.ARM, session=5, nonce=wrong, confirm=1)
    assert answer["code"] == AckCode.WRONG_NONCE
    ((_, answer),) = board.send(MessageType.ARM, session=5, nonce=asked["nonce"], confirm=1)
    assert answer["code"] == AckCode.WRONG_NONCE  # one try a challenge
    assert not board.state()["armed"]
    assert board.arm() == AckCode.OK
    assert board.state()["armed"]


def test_a_challenge_is_good_for_a_second(board):
    ((_, asked),) = board.send(MessageType.ARM, session=5, nonce=1, confirm=0)
    board.tick(1.01)
    ((_, answer),) = board.send(MessageType.ARM, session=5, nonce=asked["nonce"], confirm=1)
    assert answer["code"] == AckCode.WRONG_NONCE


def test_no_torque_while_disarmed(board):
    board.sensors.velocity_rad_s[:] = [5.0] * 8
    board.command()
    assert board.state()["refused"] == 1
    assert not board.tick(0.05).any()


# -- commands --------------------------------------------------------------------------------------


def test_position_control(armed):
    armed.sensors.angle_rad[0] = 0.3
    armed.sensors.velocity_rad_s[0] = 2.0
    armed.command(feed_forward=[0.1] * 8)
    duty = armed.tick()
    assert duty[0] == pytest.approx(0.5 * 0.2 - 0.005 * 2.0 + 0.1, abs=1e-6)
    assert duty[1] == pytest.approx(0.5 * 0.5 + 0.1, abs=1e-6)
    assert armed.cap_nm == 3.0
    armed.command(kp=[2.0] * 8)
    assert armed.tick()[1] == 1.0  # clipped


@pytest.mark.parametrize("field", ["angle_rad", "velocity_rad_s", "feed_forward", "kp", "kd"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e6])
@pytest.mark.parametrize("motor", [0, 7])
def test_a_number_out_of_bounds_refuses_the_whole_command(armed, field, bad, motor):
    armed.command()
    before = armed.tick()
    good = {"angle_rad": 0.9, "velocity_rad_s": 0.1, "feed_forward": 0.1, "kp": 0.1, "kd": 0.01}
    numbers = [good[field]] * 8
    numbers[motor] = bad
    armed.command(**{field: numbers})
    np.testing.assert_array_equal(armed.tick(), before)
    state = armed.state()
    assert (state["accepted"], state["refused"]) == (1, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"torque_cap_nm": 3.51},
        {"torque_cap_nm": math.nan},
        {"torque_cap_nm": -1.0},
        {"valid_ms": 0},
        {"valid_ms": 201},
        {"mode": 3},
        {"kp": [-0.1] * 8},
        {"session": 6},
    ],
)
def test_other_bad_commands(armed, changes):
    armed.command(**changes)
    assert armed.state()["refused"] == 1
    assert not armed.tick().any()


def test_old_and_repeated_commands_are_refused(armed):
    armed.command(seq=65530)
    armed.command(seq=65530)
    armed.command(seq=65000)
    assert armed.state()["refused"] == 2
    armed.command(seq=3)  # newer, after the wrap
    state = armed.state()
    assert (state["accepted"], state["last_seq"]) == (2, 3)
    armed.command(seq=65530)
    assert armed.state()["accepted"] == 2


# -- who dies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_us", [0, 2**32 - 150_000])
def test_silence_damps_then_goes_limp_and_latches(start_us):
    board = Board(start_us)
    board.hello()
    assert board.arm() == AckCode.OK
    board.command(valid_ms=100)
    board.sensors.velocity_rad_s[:] = [10.0] * 8
    assert board.tick(0.1).any()
    assert board.state()["mode"] == Mode.POSITION
    duty = board.tick(0.002)
    np.testing.assert_allclose(duty, -0.02 * 10.0, rtol=1e-6)
    state = board.state()
    assert state["mode"] == Mode.DAMP
    assert not state["armed"]
    assert state["faults"] == BoardFault.TIMEOUT
    board.tick(0.502)
    assert not board.duty.any()
    board.command()  # too late
    assert not board.tick().any()
    assert board.arm() == AckCode.FAULT_LATCHED
    ((_, answer),) = board.send(MessageType.CLEAR_FAULT, session=5, nonce=3)
    assert (answer["code"], answer["faults"]) == (AckCode.OK, 0)
    assert not board.tick().any()  # clearing permits, it does not start
    assert board.arm() == AckCode.OK


def test_armed_and_never_commanded_is_a_timeout_too(armed):
    armed.tick(0.205)
    assert armed.state()["faults"] == BoardFault.TIMEOUT
    assert not armed.state()["armed"]


def test_estop_from_anyone_cuts_and_latches(armed):
    armed.command()
    assert armed.tick().any()
    ((kind, answer),) = armed.send(MessageType.ESTOP, nonce=99)
    assert (kind, answer["of"], answer["nonce"]) == (MessageType.ACK, MessageType.ESTOP, 99)
    assert not armed.tick().any()
    armed.command()
    assert not armed.tick().any()
    assert armed.arm() == AckCode.FAULT_LATCHED
    assert armed.hello(session=8)["code"] == AckCode.OK
    assert armed.arm(session=8) == AckCode.FAULT_LATCHED  # a new session does not clear it


def test_disarm_damps_then_goes_limp(armed):
    armed.command()
    armed.sensors.velocity_rad_s[:] = [4.0] * 8
    armed.tick()
    armed.send(MessageType.DISARM, session=5, nonce=1)
    np.testing.assert_allclose(armed.tick(), -0.08, rtol=1e-6)
    armed.tick(0.5)
    assert not armed.tick().any()
    assert armed.state()["faults"] == 0


def test_a_straining_motor_is_switched_off_alone(armed):
    armed.sensors.torque_nm[3] = -2.5
    for _ in range(99):
        armed.command()
        armed.tick(0.01)
    assert armed.duty[3] != 0.0
    for _ in range(3):
        armed.command()
        armed.tick(0.01)
    assert armed.duty[3] == 0.0
    assert (np.delete(armed.duty, 3) != 0.0).all()
    assert armed.state()["faults"] == BoardFault.OVERHEAT
    armed.sensors.torque_nm[3] = 0.0
    armed.command()
    assert armed.tick()[3] == 0.0  # until somebody clears it


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"battery_v": 10.9}, BoardFault.BROWN_OUT),
        ({"battery_v": math.nan}, BoardFault.BROWN_OUT),
        ({"imu_ok": 0}, BoardFault.IMU),
    ],
)
def test_battery_and_imu_settle_it(armed, change, fault):
    armed.command()
    armed.tick()
    for name, value in change.items():
        setattr(armed.sensors, name, value)
    armed.tick()
    state = armed.state()
    assert state["faults"] == fault
    assert not state["armed"]
    assert state["mode"] == Mode.DAMP


def test_sensors_that_are_not_finite_never_make_torque(armed):
    armed.command()
    armed.sensors.angle_rad[2] = math.nan
    armed.sensors.velocity_rad_s[5] = math.inf
    duty = armed.tick()
    assert np.isfinite(duty).all()
    assert np.abs(duty).max() <= 1.0
    assert duty[2] == 0.0


def test_a_host_that_does_not_read_costs_only_its_answers(board):
    for nonce in range(1000):
        board.feed(encode(MessageType.ESTOP, {"nonce": nonce}, nonce, 0))
    assert len(board.replies()) >= 4
    assert board.state()["faults"] == BoardFault.ESTOP


def test_noise_never_arms_or_moves_anything():
    @settings(max_examples=50)
    @given(st.lists(st.binary(max_size=400), max_size=20))
    def noise(pieces):
        board = Board()
        board.hello()
        for piece in pieces:
            board.feed(piece + b"\0")
            assert not board.tick().any()
        assert not board.state()["armed"]

    noise()
