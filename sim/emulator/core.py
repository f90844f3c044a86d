# SPDX-License-Identifier: MIT
"""The board's C code (`firmware/walkhome.c`) in this process, through ctypes.

The emulated board runs the same code as a real one. It is compiled with the system's C compiler at
first use (`native.compiled`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from walkhome.hardware.constants import MAX_TORQUE_NM, N_MOTORS, OVERHEAT_S, OVERHEAT_TORQUE_NM
from walkhome.hardware.robot import RobotError
from walkhome.hardware.serial.protocol import MAX_ENCODED
from walkhome.native.compiled import NotCompiled, load_library

FloatArray = npt.NDArray[np.float64]

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2")
OUT_BYTES = 4 * (MAX_ENCODED + 1)
_U32 = 0xFFFFFFFF
_Floats = ctypes.c_float * N_MOTORS


class BoardConfig(ctypes.Structure):
    """`wh_config`: identity and limits of the board."""

    _fields_ = (
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
    )


class BoardSensors(ctypes.Structure):
    """`wh_sensors`: measurements of the board, SI units, in the order of `hardware.body`."""

    _fields_ = (
        ("battery_v", ctypes.c_float),
        ("battery_a", ctypes.c_float),
        ("angle_rad", _Floats),
        ("velocity_rad_s", _Floats),
        ("torque_nm", _Floats),
        ("current_a", _Floats),
        ("temperature_c", _Floats),
        ("attitude_xyzw", ctypes.c_float * 4),
        ("angular_velocity_rad_s", ctypes.c_float * 3),
        ("acceleration_m_s2", ctypes.c_float * 3),
        ("imu_ok", ctypes.c_uint8),
    )


DEFAULTS: Mapping[str, Any] = {
    "robot_id": b"emulated",
    "firmware": b"walkhome 1.0",
    "angle_limit_rad": 12.0,  # legs can make more than one turn
    "kp_limit": 2.0,
    "kd_limit": 0.1,
    "torque_limit_nm": MAX_TORQUE_NM,
    "velocity_limit_rad_s": 100.0,
    "valid_limit_ms": 200,
    "damp_ms": 500,
    "damp_kd": 0.02,
    "overheat_nm": OVERHEAT_TORQUE_NM,
    "overheat_ms": round(1e3 * OVERHEAT_S),
    "brown_out_v": 11.0,
    "zero_table": 1,
    "boot": 1,
}


@dataclass(frozen=True)
class Drive:
    """Output to the motors for one period.

    Attributes:
        duty: (8,) PWM duty in [-1, 1]; all zero is limp.
        torque_cap_nm: largest torque magnitude.
    """

    duty: FloatArray
    torque_cap_nm: float


class BoardCore:
    """One board: takes bytes, sensors and microseconds; returns bytes and duties.

    Args:
        random: start value of its challenges.
        **changes: fields of `wh_config` that differ from `DEFAULTS`.

    Raises:
        RobotError: there is no C compiler, or the code does not compile.
    """

    def __init__(self, random: int = 1, **changes: Any) -> None:
        self._library = library()
        self._memory = ctypes.create_string_buffer(self._library.wh_board_size())
        config = BoardConfig(**{**DEFAULTS, **changes})
        self._library.wh_board_init(
            self._memory, ctypes.byref(config), ctypes.c_uint32(random & _U32)
        )
        self._out = ctypes.create_string_buffer(OUT_BYTES)

    def receive(self, data: bytes, now_us: int) -> None:
        """Process bytes from the host."""
        self._library.wh_board_receive(
            self._memory, data, ctypes.c_size_t(len(data)), ctypes.c_uint32(now_us & _U32)
        )

    def transmit(self) -> bytes:
        """Take all bytes that wait for the host."""
        size = self._library.wh_board_transmit(self._memory, self._out, ctypes.c_size_t(OUT_BYTES))
        return self._out.raw[:size]

    def tick(self, sensors: BoardSensors, now_us: int) -> Drive:
        """Run one period of motor control; `now_us` wraps at 2^32."""
        duty, cap_nm = _Floats(), ctypes.c_float()
        self._library.wh_board_tick(
            self._memory,
            ctypes.byref(sensors),
            ctypes.c_uint32(now_us & _U32),
            duty,
            ctypes.byref(cap_nm),
        )
        return Drive(np.array(duty[:], dtype=np.float64), cap_nm.value)

    @property
    def mode(self) -> int:
        """State of the motors, a value of `hardware.serial.protocol.Mode`."""
        return int(self._library.wh_board_mode(self._memory))

    @property
    def faults(self) -> int:
        """Latched fault bits, see `hardware.serial.protocol.BoardFault`."""
        return int(self._library.wh_board_faults(self._memory))

    def report(self, sensors: BoardSensors, now_us: int) -> None:
        """Queue a STATE frame with these readings."""
        self._library.wh_board_report(
            self._memory, ctypes.byref(sensors), ctypes.c_uint32(now_us & _U32)
        )


@cache
def library() -> ctypes.CDLL:
    """Compile and load the C code, once per process.

    Raises:
        RobotError: there is no C compiler, or the code does not compile.
    """
    folder = Path(str(files("walkhome.firmware")))
    try:
        loaded = load_library(folder / "walkhome.c", FLAGS, [folder / "walkhome.h"])
    except NotCompiled as error:
        raise RobotError(f"the emulated board needs its C code compiled: {error}") from error
    for function in ("wh_board_size", "wh_board_transmit", "wh_encode"):
        getattr(loaded, function).restype = ctypes.c_size_t
    loaded.wh_board_mode.restype = ctypes.c_uint8
    loaded.wh_board_faults.restype = loaded.wh_crc32.restype = ctypes.c_uint32
    return loaded
