# SPDX-License-Identifier: MIT
"""Coverage-guided fuzzing of the wire (atheris): `make fuzz`, or any libFuzzer option.

An input is a script: frames of any type and payload with a correct CRC (with random CRCs a fuzzer
would test nothing behind them), sometimes raw bytes, split into chunks anywhere. It goes to the
host's decoder and telemetry, and to the board's C code. Invariants: nothing raises; the chunks make
no difference; states are finite; the board drives a motor only while armed, and never beyond full
duty.

Runs until stopped; python benchmarks/fuzz_wire.py -max_total_time=60 ends after a minute.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["walkhome.hardware"]):
    import numpy as np

    from walkhome.hardware.serial.protocol import (
        MESSAGES,
        Decoder,
        MessageType,
        encode_payload,
        payload_size,
    )
    from walkhome.hardware.serial.telemetry import Telemetry
    from walkhome.hardware.serial.wiring import Wiring
    from walkhome.sim.emulator.core import BoardCore, BoardSensors

KINDS = tuple(MESSAGES)
SESSION = (7).to_bytes(4, "little")


def script(data: atheris.FuzzedDataProvider) -> list[bytes]:
    """Frames with a correct CRC, and some random bytes."""
    out = []
    for _ in range(data.ConsumeIntInRange(1, 12)):
        if data.ConsumeIntInRange(0, 7) == 0:
            out.append(data.ConsumeBytes(data.ConsumeIntInRange(0, 64)))
            continue
        kind = KINDS[data.ConsumeIntInRange(0, len(KINDS) - 1)]
        payload = data.ConsumeBytes(payload_size(kind)).ljust(payload_size(kind), b"\0")
        if data.ConsumeBool():
            payload = SESSION + payload[4:]  # else almost every frame belongs to another session
        seq, time_us = data.ConsumeIntInRange(0, 65535), data.ConsumeIntInRange(0, 2**32 - 1)
        out.append(encode_payload(kind, payload, seq, time_us))
    return out


def one_input(raw: bytes) -> None:
    """Run one input of libFuzzer."""
    data = atheris.FuzzedDataProvider(raw)
    pieces = script(data)
    stream = b"".join(pieces)
    whole = list(Decoder().feed(stream))
    cut = data.ConsumeIntInRange(1, 64)
    chunks = Decoder()
    parts = [f for k in range(0, len(stream), cut) for f in chunks.feed(stream[k : k + cut])]
    assert parts == whole, "the result depends on the chunks"
    heard = Telemetry(Wiring())
    for number, frame in enumerate(whole):
        if frame.kind is MessageType.STATE:
            heard.take(frame, 0.01 * number)
            if heard.state is not None:
                assert np.isfinite(heard.state.motor_angle_rad).all()
                assert np.isfinite(heard.state.attitude_xyzw).all()
    board(pieces)


def board(pieces: list[bytes]) -> None:
    """Send the pieces to the board, one per millisecond."""
    core, sensors, decoder = BoardCore(random=1), BoardSensors(battery_v=16.0, imu_ok=1), Decoder()
    armed = False
    for now_ms, piece in enumerate(pieces, start=1):
        core.receive(piece, 1000 * now_ms)
        drive = core.tick(sensors, 1000 * now_ms)
        core.report(sensors, 1000 * now_ms)
        for frame in decoder.feed(core.transmit()):
            if frame.kind is MessageType.STATE:
                armed = frame.payload[7] == 1
        assert (np.abs(drive.duty) <= 1.0).all(), "beyond full duty, or not a number"
        assert armed or not drive.duty.any(), "torque while disarmed"


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
