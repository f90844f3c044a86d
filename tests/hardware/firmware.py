# SPDX-License-Identifier: MIT
"""The C board, compiled and wrapped for the tests."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

from hardware.protocol import MAX_ENCODED, SCHEMA_HASH, Decoder, MessageType, encode, fields_of

SOURCE = Path(__file__).parents[2] / "firmware"
FLOATS = ctypes.c_float * 8


class Config(ctypes.Structure):
    _fields_ = [
        ("robot_id", ctypes.c_char * 16),
        ("firmware", ctypes.c_char * 16),
        ("angle_limit_rad", ctypes.c_float),
        ("kp_limit", ctypes.c_float),
        ("kd_limit", ctypes.c_float),
        ("torque_limit_nm", ctypes.c_float),
        ("velocity_limit_rad_s", ctypes.c_float),
        ("valid_limit_ms", ctypes.c_uint16),
        ("damp_ms", ctypes.c_uint16),
        ("damp_kd", ctypes.c_float),
        ("overheat_nm", ctypes.c_float),
        ("overheat_ms", ctypes.c_uint16),
        ("brown_out_v", ctypes.c_float),
        ("zero_table", ctypes.c_uint32),
        ("boot", ctypes.c_uint32),
    ]


class Sensors(ctypes.Structure):
    _fields_ = [
        ("battery_v", ctypes.c_float),
        ("battery_a", ctypes.c_float),
        ("angle_rad", FLOATS),
        ("velocity_rad_s", FLOATS),
        ("torque_nm", FLOATS),
        ("current_a", FLOATS),
        ("temperature_c", FLOATS),
        ("attitude_xyzw", ctypes.c_float * 4),
        ("angular_velocity_rad_s", ctypes.c_float * 3),
        ("acceleration_m_s2", ctypes.c_float * 3),
        ("imu_ok", ctypes.c_uint8),
    ]


class WireFrame(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("seq", ctypes.c_uint16),
        ("time_us", ctypes.c_uint32),
        ("size", ctypes.c_uint16),
        ("payload", ctypes.c_uint8 * 320),
    ]


def build(folder):
    """Compile as strictly as a careful firmware build would."""
    library = folder / "libwalkhome.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2"]
    source = SOURCE / "walkhome.c"
    command = ["cc", *flags, "-shared", "-fPIC", "-o", library, source, "-lm"]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    for name in ("wh_board_size", "wh_board_transmit", "wh_encode"):
        getattr(loaded, name).restype = ctypes.c_size_t
    loaded.wh_crc32.restype = ctypes.c_uint32
    return loaded


CONFIG = {
    "robot_id": b"test-robot",
    "firmware": b"0.1",
    "angle_limit_rad": 12.0,
    "kp_limit": 2.0,
    "kd_limit": 0.1,
    "torque_limit_nm": 3.5,
    "velocity_limit_rad_s": 100.0,
    "valid_limit_ms": 200,
    "damp_ms": 500,
    "damp_kd": 0.02,
    "overheat_nm": 2.45,
    "overheat_ms": 1000,
    "brown_out_v": 11.0,
    "zero_table": 0xABCD,
    "boot": 77,
}


class Board:
    """A board with a clock that the test moves, 1 kHz ticks and a host that reads all it says."""

    def __init__(self, library, start_us=0, **changes):
        self.library = library
        self.now_us = start_us
        self.sensors = Sensors(battery_v=16.0, imu_ok=1)
        self.sensors.attitude_xyzw[3] = 1.0
        self.seq = 0
        self.duty = np.zeros(8)
        self.cap_nm = 0.0
        self._memory = ctypes.create_string_buffer(library.wh_board_size())
        config = Config(**{**CONFIG, **changes})
        library.wh_board_init(self._memory, ctypes.byref(config), ctypes.c_uint32(1234))
        self._decoder = Decoder()

    def feed(self, data):
        clock = ctypes.c_uint32(self.now_us & 0xFFFFFFFF)
        self.library.wh_board_receive(self._memory, data, ctypes.c_size_t(len(data)), clock)

    def said(self):
        out = ctypes.create_string_buffer(4 * (MAX_ENCODED + 1))
        size = self.library.wh_board_transmit(self._memory, out, ctypes.c_size_t(len(out)))
        return [(f.kind, fields_of(f)) for f in self._decoder.feed(out.raw[:size])]

    def send(self, kind, seq=None, **fields):
        """Send one frame; returns what the board answers."""
        self.seq += 1
        self.feed(encode(kind, fields, self.seq if seq is None else seq, 0))
        return self.said()

    def tick(self, seconds=0.001):
        for _ in range(max(1, round(seconds * 1000))):
            self.now_us += 1000
            duty, cap = FLOATS(), ctypes.c_float()
            clock = ctypes.c_uint32(self.now_us & 0xFFFFFFFF)
            self.library.wh_board_tick(
                self._memory, ctypes.byref(self.sensors), clock, duty, ctypes.byref(cap)
            )
            self.duty, self.cap_nm = np.array(duty[:]), cap.value
        return self.duty

    def state(self):
        clock = ctypes.c_uint32(self.now_us & 0xFFFFFFFF)
        self.library.wh_board_report(self._memory, ctypes.byref(self.sensors), clock)
        ((kind, fields),) = self.said()
        assert kind is MessageType.STATE
        return fields

    def hello(self, session=5, major=1, schema=SCHEMA_HASH):
        ((kind, fields),) = self.send(
            MessageType.HELLO, major=major, minor=0, schema=schema, session=session
        )
        assert kind is MessageType.HELLO_ACK
        return fields

    def arm(self, session=5):
        ((_, asked),) = self.send(MessageType.ARM, session=session, nonce=9, confirm=0)
        if asked["code"] != 1:
            return asked["code"]
        ((_, answer),) = self.send(
            MessageType.ARM, session=session, nonce=asked["nonce"], confirm=1
        )
        return answer["code"]

    def command(self, session=5, seq=None, **changes):
        fields = {
            "session": session,
            "mode": 2,
            "reserved": 0,
            "valid_ms": 100,
            "torque_cap_nm": 3.0,
            "angle_rad": [0.5] * 8,
            "velocity_rad_s": [0.0] * 8,
            "feed_forward": [0.0] * 8,
            "kp": [0.5] * 8,
            "kd": [0.005] * 8,
        }
        assert self.send(MessageType.COMMAND, seq=seq, **{**fields, **changes}) == []
