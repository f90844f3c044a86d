# SPDX-License-Identifier: MIT
"""Messages of the wire protocol: random ones (hypothesis), and the golden frames."""

from pathlib import Path

from hypothesis import strategies as st

from walkhome.hardware.serial.protocol import (
    MESSAGES,
)

VECTORS = Path(__file__).parents[1] / "hardware" / "serial" / "golden_frames.txt"


RANGES = {"B": (0, 2**8 - 1), "H": (0, 2**16 - 1), "I": (0, 2**32 - 1), "Q": (0, 2**64 - 1)}


def values(code, count):
    """Strategy for `count` values of a `struct` code."""
    if code == "f":
        one = st.floats(width=32)
    elif code.endswith("s"):
        one = st.binary(min_size=int(code[:-1]), max_size=int(code[:-1]))
    else:
        one = st.integers(*RANGES[code])
    return one if count == 1 else st.tuples(*[one] * count)


@st.composite
def messages(draw):
    """Kind, fields, sequence number and time (us) of a random message."""
    kind = draw(st.sampled_from(list(MESSAGES)))
    fields = {name: draw(values(code, count)) for name, code, count in MESSAGES[kind]}
    seq, time_us = draw(st.integers(0, 2**16 - 1)), draw(st.integers(0, 2**32 - 1))
    return kind, fields, seq, time_us


def golden():
    """Name and bytes of each golden frame in `VECTORS`."""
    for line in VECTORS.read_text().splitlines():
        if line and not line.startswith("#"):
            name, data = line.split()
            yield name, bytes.fromhex(data)
