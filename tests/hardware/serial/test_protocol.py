# SPDX-License-Identifier: MIT
"""The codec: round trips in chunks of any size; damaged frames are never accepted."""

import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from cobs import cobs
from frames import VECTORS, golden, messages
from hypothesis import given, settings
from hypothesis import strategies as st

from walkhome.hardware.serial.protocol import (
    MAX_ENCODED,
    MESSAGES,
    SCHEMA_HASH,
    Decoder,
    MessageType,
    ProtocolError,
    decode,
    encode,
    encode_payload,
    fields_of,
    payload_size,
    schema_text,
)


def same(one, other):
    """Whether values are equal, with NaN equal to NaN."""
    flat = [np.atleast_1d(np.array(value, dtype=object)) for value in (one, other)]
    return all(
        a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(*flat, strict=True)
    )


@given(messages())
def test_round_trip(message):
    kind, fields, seq, time_us = message
    data = encode(kind, fields, seq, time_us)
    assert data[-1] == 0
    assert 0 not in data[:-1]
    assert len(data) <= MAX_ENCODED + 1
    (frame,) = Decoder().feed(data)
    assert (frame.kind, frame.seq, frame.time_us, frame.flags) == (kind, seq, time_us, 0)
    again = fields_of(frame)
    assert again.keys() == fields.keys()
    assert all(same(again[name], fields[name]) for name in fields)


@settings(max_examples=50)
@given(st.lists(messages(), min_size=1, max_size=5), st.data())
def test_chunks_do_not_matter(sent, data):
    stream = b"".join(encode(*message) for message in sent)
    whole = list(Decoder().feed(stream))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder, frames = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += decoder.feed(stream[start:end])
    assert frames == whole
    assert len(frames) == len(sent)
    assert decoder.damaged == 0


@given(messages(), st.binary(max_size=2000), messages())
def test_goes_on_after_anything(first, noise, last):
    decoder = Decoder()
    frames = list(decoder.feed(encode(*first) + noise + b"\0" + encode(*last)))
    assert frames[0].kind == first[0]
    assert frames[-1].kind == last[0]


def test_memory_is_bounded():
    decoder = Decoder()
    for _ in range(100):
        assert list(decoder.feed(b"\x01" * 10_000)) == []
    assert len(decoder._piece) == MAX_ENCODED
    assert list(decoder.feed(b"\0")) == []
    assert decoder.damaged == 1
    estop = encode(MessageType.ESTOP, {"nonce": 1}, 0, 0)
    assert len(list(decoder.feed(estop))) == 1


@settings(max_examples=300)
@given(messages(), st.data())
def test_one_to_three_flipped_bits_are_never_accepted(message, data):
    """CRC-32 detects every error of up to three bits in a frame of this length."""
    kind, fields, seq, time_us = message
    body = bytearray(cobs.decode(encode(kind, fields, seq, time_us)[:-1]))
    places = st.sets(st.integers(0, 8 * len(body) - 1), min_size=1, max_size=3)
    for place in data.draw(places):
        body[place // 8] ^= 1 << place % 8
    assert decode(cobs.encode(bytes(body))) is None


@settings(max_examples=300)
@given(messages(), st.data())
def test_a_wrong_structure_with_a_right_crc_is_refused(message, data):
    """With a correct CRC, only frames of a known type and the right size are accepted."""
    kind, fields, seq, time_us = message
    payload = cobs.decode(encode(kind, fields, seq, time_us)[:-1])[8:-4]
    other_kind = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(payload)))
    tail = data.draw(st.binary(max_size=40))
    changed = payload[:cut] + tail
    frame = decode(encode_payload(other_kind, changed)[:-1])
    known = other_kind in set(MessageType)
    assert (frame is not None) == (
        known and len(changed) == payload_size(MessageType(other_kind)) if known else False
    )


def test_mutated_streams_yield_only_frames_that_were_sent():
    """A million mutated bytes; the benchmark does ten million frames."""
    rng = np.random.default_rng(0)
    sent = [
        encode(MessageType.ACK, {"of": i % 7, "code": i % 8, "nonce": i, "faults": i}, i, 17 * i)
        for i in range(2000)
    ]
    known = {piece[:-1] for piece in sent}
    decoder = Decoder()
    stream = np.frombuffer(b"".join(sent), np.uint8).copy()
    hit = rng.random(len(stream)) < 0.02
    stream[hit] = rng.integers(0, 256, hit.sum())
    frames = list(decoder.feed(stream.tobytes()))
    assert 500 < len(frames) < 2000
    for frame in frames:
        again = encode_payload(frame.kind, frame.payload, frame.seq, frame.time_us, frame.flags)
        assert again[:-1] in known
    assert decoder.damaged > 0


@pytest.mark.parametrize(
    ("kind", "fields", "why"),
    [
        (MessageType.ESTOP, {}, "nonce"),
        (MessageType.ESTOP, {"nonce": 1, "other": 2}, "other"),
        (MessageType.ESTOP, {"nonce": -1}, "ESTOP"),
        (MessageType.ESTOP, {"nonce": 2**32}, "ESTOP"),
        (MessageType.ESTOP, {"nonce": 1.5}, "ESTOP"),
    ],
)
def test_what_does_not_fit_can_not_be_sent(kind, fields, why):
    with pytest.raises(ProtocolError, match=why):
        encode(kind, fields, 0, 0)


def test_a_command_needs_eight_of_each():
    command = {name: [0.0] * n if n > 1 else 0 for name, _, n in MESSAGES[MessageType.COMMAND]}
    encode(MessageType.COMMAND, command, 0, 0)
    with pytest.raises(ProtocolError, match=r"kp has 7 numbers, not 8"):
        encode(MessageType.COMMAND, {**command, "kp": [0.0] * 7}, 0, 0)


def test_golden_frames_stay_what_they_are():
    """If these bytes change, the firmware of every board must change too."""
    seen = {}
    for name, data in golden():
        (frame,) = Decoder().feed(data)
        assert frame.kind.name == name
        assert encode(frame.kind, fields_of(frame), frame.seq, frame.time_us) == data
        seen[name] = frame
    assert set(seen) == set(MessageType.__members__)
    hello = fields_of(seen["HELLO"])
    assert hello["schema"] == SCHEMA_HASH
    assert f"schema {SCHEMA_HASH:016x}" in VECTORS.read_text()
    command = fields_of(seen["COMMAND"])
    assert command["angle_rad"] == tuple(float(np.float32(0.25 * i - 1.0)) for i in range(8))


def test_the_document_has_the_schema():
    document = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
    assert schema_text() in document
    assert f"{SCHEMA_HASH:016x}" in document


def test_header_by_hand():
    """Take one frame apart without the codec."""
    data = encode(MessageType.ESTOP, {"nonce": 0x01020304}, seq=7, time_us=1000)
    body = cobs.decode(data[:-1])
    assert body[:8] == struct.pack("<BBHI", 6, 0, 7, 1000)
    assert body[8:12] == b"\x04\x03\x02\x01"
    assert struct.unpack("<I", body[12:])[0] == zlib.crc32(body[:12])
