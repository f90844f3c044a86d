# SPDX-License-Identifier: MIT
"""Round trips over a pseudo-terminal: this project's stack against plain pyserial, same bytes.

The other side answers each COMMAND frame with a STATE frame encoded beforehand, the same bytes for
both. "Ours" encodes the command, sends, waits, reads, decodes and unpacks the answer; "bare" is
`write` and `read` of pyserial with a time-out. Both take turns.
"""

from __future__ import annotations

import os
import pty
import signal
import time
import tty
from typing import Any, NoReturn

import numpy as np

WARM_UP = 50
BLOCK = 50


def measure(round_trips: int) -> dict[str, Any]:
    """Measure both stacks; return medians and 99 % quantiles (us) and the ratio of the medians."""
    import serial

    from walkhome.hardware.serial.link import SerialLink
    from walkhome.hardware.serial.protocol import MessageType, encode, fields_of

    master, slave = pty.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    state = encode(MessageType.STATE, _state(), 1, 1)
    request = encode(MessageType.COMMAND, _command(), 1, 1)
    answering = os.fork()  # in its own process: a thread would share the GIL
    if answering == 0:
        _answer(master, state)
    ours, bare = [], []
    try:
        for block in range(-(-WARM_UP // BLOCK), -(-round_trips // BLOCK) + 1):
            keep = block > 0
            with SerialLink(name) as link:
                for seq in range(BLOCK):
                    begin_s = time.perf_counter()
                    link.send(encode(MessageType.COMMAND, _command(), seq, seq))
                    frames: list[Any] = []
                    while not frames:
                        link.wait(0.5)
                        frames = list(link.read())
                    fields_of(frames[0])
                    ours += [time.perf_counter() - begin_s] * keep
            with serial.Serial(name, 921_600, timeout=0.5) as port:
                for _ in range(BLOCK):
                    begin_s = time.perf_counter()
                    port.write(request)
                    if len(port.read(len(state))) != len(state):
                        raise SystemExit("the echo lost bytes")
                    bare += [time.perf_counter() - begin_s] * keep
    finally:
        os.kill(answering, signal.SIGKILL)
        os.waitpid(answering, 0)
        os.close(master)
        os.close(slave)
    a, b = np.array(ours) * 1e6, np.array(bare) * 1e6
    return {
        "round_trips": len(a),
        "bytes": [len(request), len(state)],
        "ours_median_us": float(np.median(a)),
        "ours_p99_us": float(np.quantile(a, 0.99)),
        "bare_median_us": float(np.median(b)),
        "bare_p99_us": float(np.quantile(b, 0.99)),
        "ratio": float(np.median(a) / np.median(b)),
    }


def format_result(r: dict[str, Any]) -> str:
    """One line of text."""
    return (
        f"     echo: {r['ours_median_us']:.0f} us through our stack, {r['bare_median_us']:.0f} us "
        f"bare (medians of {r['round_trips']}, {r['bytes'][0]} and {r['bytes'][1]} bytes); ratio "
        f"{r['ratio']:.2f}; p99 {r['ours_p99_us']:.0f} and {r['bare_p99_us']:.0f} us"
    )


def _answer(master: int, state: bytes) -> NoReturn:
    while True:
        for _ in range(os.read(master, 4096).count(b"\0")):
            os.write(master, state)


def _command() -> dict[str, Any]:
    return {
        "session": 1,
        "mode": 2,
        "reserved": 0,
        "valid_ms": 60,
        "torque_cap_nm": 3.5,
        "angle_rad": [0.1 * k for k in range(8)],
        "velocity_rad_s": [0.0] * 8,
        "feed_forward": [0.0] * 8,
        "kp": [1.0] * 8,
        "kd": [0.01] * 8,
    }


def _state() -> dict[str, Any]:
    return {
        "session": 1,
        "last_seq": 1,
        "mode": 2,
        "armed": 1,
        **dict.fromkeys(("faults", "accepted", "refused", "damaged"), 0),
        "battery_v": 16.0,
        "battery_a": 1.0,
        "angle_rad": [0.1 * k for k in range(8)],
        "velocity_rad_s": [0.0] * 8,
        "current_a": [0.5] * 8,
        "temperature_c": [30.0] * 8,
        "attitude_xyzw": [0.0, 0.0, 0.0, 1.0],
        "angular_velocity_rad_s": [0.0] * 3,
        "acceleration_m_s2": [0.0, 0.0, 9.81],
    }
