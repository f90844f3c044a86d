# SPDX-License-Identifier: MIT
"""The firmware's C code as a board: the test sets its clock, sends frames and reads replies."""

import ctypes

import numpy as np

from walkhome.hardware.serial.protocol import SCHEMA_HASH, Decoder, MessageType, encode, fields_of
from walkhome.sim.emulator.core import BoardCore, BoardSensors


class WireFrame(ctypes.Structure):
    """The firmware's struct of a decoded frame."""

    _fields_ = [
        ("type", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("seq", ctypes.c_uint16),
        ("time_us", ctypes.c_uint32),
        ("size", ctypes.c_uint16),
        ("payload", ctypes.c_uint8 * 320),
    ]


class Board:
    """A board in the test's own time.

    Attributes:
        now_us: the board's time.
        sensors: what the firmware measures; the test sets it.
        duty: (8,) PWM duty of the motors after the last `tick`.
        cap_nm: torque cap after the last `tick`.
    """

    def __init__(self, start_us=0, **changes):
        self.now_us = start_us
        self.sensors = BoardSensors(battery_v=16.0, imu_ok=1)
        self.sensors.attitude_xyzw[3] = 1.0
        self.seq = 0
        self.duty = np.zeros(8)
        self.cap_nm = 0.0
        settings = {"robot_id": b"test-robot", "zero_table": 0xABCD, "boot": 77}
        self._core = BoardCore(random=1234, **{**settings, **changes})
        self._decoder = Decoder()

    def feed(self, data):
        """Give the board bytes from the host."""
        self._core.receive(data, self.now_us)

    def replies(self):
        """Messages that the board has sent since the last call: (kind, fields) each."""
        return [(f.kind, fields_of(f)) for f in self._decoder.feed(self._core.transmit())]

    def send(self, kind, seq=None, **fields):
        """Send one frame; return the board's replies."""
        self.seq += 1
        self.feed(encode(kind, fields, self.seq if seq is None else seq, 0))
        return self.replies()

    def tick(self, seconds=0.001):
        """Run the firmware's 1 kHz loop; return the duty."""
        for _ in range(max(1, round(seconds * 1000))):
            self.now_us += 1000
            drive = self._core.tick(self.sensors, self.now_us)
            self.duty, self.cap_nm = drive.duty, drive.torque_cap_nm
        return self.duty

    def state(self):
        """Let the board report; return the fields of its STATE message."""
        self._core.report(self.sensors, self.now_us)
        ((kind, fields),) = self.replies()
        assert kind is MessageType.STATE
        return fields

    def hello(self, session=5, major=1, schema=SCHEMA_HASH):
        ((kind, fields),) = self.send(
            MessageType.HELLO, major=major, minor=0, schema=schema, session=session
        )
        assert kind is MessageType.HELLO_ACK
        return fields

    def arm(self, session=5):
        """Arm the board in its two steps; return the code of its last answer."""
        ((_, asked),) = self.send(MessageType.ARM, session=session, nonce=9, confirm=0)
        if asked["code"] != 1:
            return asked["code"]
        ((_, answer),) = self.send(
            MessageType.ARM, session=session, nonce=asked["nonce"], confirm=1
        )
        return answer["code"]

    def command(self, session=5, seq=None, **changes):
        """Send a command with these fields changed."""
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
