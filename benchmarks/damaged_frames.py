# SPDX-License-Identifier: MIT
"""Sends ten million damaged frames through both decoders of the wire; counts accepted ones.

Every frame is a valid one damaged in one of eight ways: bits flipped, a burst, bytes dropped,
doubled, swapped, inserted, cut off, or two frames spliced. The host's decoder
(`hardware.serial.protocol`) and the board's (`firmware/walkhome.c`) get the same frames. A frame
counts as corrupt and accepted if a decoder returns anything but the original; after each damaged
frame, an undamaged one must be accepted.

Ten million take about 3 minutes on one core; --seconds ends earlier, --quick is 10 seconds.

Run: python benchmarks/damaged_frames.py [--frames N] [--seconds S] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import time

from walkhome.hardware.serial.protocol import (
    MESSAGES,
    Decoder,
    MessageType,
    encode_payload,
    payload_size,
)
from walkhome.sim.emulator.core import library

KINDS = tuple(MESSAGES)


class CFrame(ctypes.Structure):
    """`wh_frame`."""

    _fields_ = (
        ("type", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("seq", ctypes.c_uint16),
        ("time_us", ctypes.c_uint32),
        ("size", ctypes.c_uint16),
        ("payload", ctypes.c_uint8 * 320),
    )


def damaged(rng: random.Random, frame: bytes, other: bytes) -> bytes:
    """Damage a frame; returned without its delimiter, and possibly undamaged by chance."""
    data = bytearray(frame[:-1])
    at = rng.randrange(len(data))
    how = rng.randrange(8)
    if how == 0:
        for _ in range(rng.choice((1, 1, 2, 2, 3, 5, 16))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == 1:
        end = min(len(data), at + rng.randint(1, 64))
        data[at:end] = rng.randbytes(end - at)
    elif how == 2:
        del data[at : at + rng.choice((1, 1, 2, 4, 8))]
    elif how == 3:
        data[at:at] = data[at : at + rng.choice((1, 1, 2, 4, 8))]
    elif how == 4:
        to = rng.randrange(len(data))
        data[at], data[to] = data[to], data[at]
    elif how == 5:
        data[at:at] = rng.randbytes(rng.choice((1, 1, 2, 4, 8)))
    elif how == 6:
        del data[at:]
    else:
        data[at:] = other[min(at, len(other) - 1) : -1]
    return bytes(data)


def some_frames(rng: random.Random, count: int) -> list[tuple[MessageType, int, bytes, bytes]]:
    """Create valid frames of all types: type, sequence number, payload, bytes."""
    out = []
    for k in range(count):
        kind = KINDS[k % len(KINDS)]
        payload = rng.randbytes(payload_size(kind))
        out.append((kind, k, payload, encode_payload(kind, payload, k, 1000 * k)))
    return out


def run(frames: int, seconds: float, seed: int) -> dict[str, object]:
    """Test this many frames, or as many as fit into `seconds`; return the counts."""
    rng = random.Random(seed)
    pool = some_frames(rng, 900)
    decoder, c, c_frame = Decoder(), library(), CFrame()
    corrupt = corrupt_c = undamaged = refused_good = done = 0
    begin_s = time.monotonic()
    while done < frames and time.monotonic() - begin_s < seconds:
        for _ in range(1000):
            kind, seq, payload, good = pool[rng.randrange(len(pool))]
            _, _, _, other = pool[rng.randrange(len(pool))]
            bad = damaged(rng, good, other)
            done += 1
            if bad in (good[:-1], other[:-1]):
                undamaged += 1
                continue
            *taken, last = list(decoder.feed(bad + b"\0" + good)) or [None]
            if last is None or (last.kind, last.seq, last.payload) != (kind, seq, payload):
                refused_good += 1
            for f in taken:
                corrupt += (f.kind, f.seq, f.payload) != (kind, seq, payload)
            for piece in filter(None, bad.split(b"\0")):
                size = ctypes.c_size_t(len(piece))
                if c.wh_decode(piece, size, ctypes.byref(c_frame)) == 0:
                    said = bytes(c_frame.payload[: c_frame.size])
                    corrupt_c += (c_frame.type, c_frame.seq, said) != (kind, seq, payload)
    took_s = time.monotonic() - begin_s
    return {
        "frames": done,
        "undamaged_by_chance": undamaged,
        "corrupt_accepted_host": corrupt,
        "corrupt_accepted_board": corrupt_c,
        "next_good_frame_refused": refused_good,
        "seconds": took_s,
        "frames_per_s": done / took_s,
        "load": os.getloadavg()[0],
        "seed": seed,
    }


def main() -> None:
    """Parse the command line, run, print; exit code 1 if a corrupt frame was accepted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = run(options.frames, 10.0 if options.quick else options.seconds, options.seed)
    if not options.json:
        for key, value in result.items():
            print(f"{key:26} {value}")
    print(json.dumps(result))
    bad = ("corrupt_accepted_host", "corrupt_accepted_board", "next_good_frame_refused")
    raise SystemExit(any(result[key] for key in bad))


if __name__ == "__main__":
    main()
