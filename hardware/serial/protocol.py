# SPDX-License-Identifier: MIT
"""Codec of the wire protocol: frames to bytes and back (docs/protocol.md, firmware/walkhome.h).

    frame = COBS(type u8 | flags u8 | seq u16 | time_us u32 | payload | CRC-32 u32) 0x00

Little-endian, SI units, float32. A zero byte never occurs inside a frame, so a receiver that is
out of step finds the next frame after the next zero. A frame is valid only if COBS, length, type,
payload size and CRC are; anything else is counted and dropped. This module does no I/O.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from cobs import cobs

from walkhome.hardware.constants import N_MOTORS

PROTOCOL_MAJOR = 1
PROTOCOL_MINOR = 0
MAX_PAYLOAD = 320
_HEADER = struct.Struct("<BBHI")
_CRC = struct.Struct("<I")
_OVERHEAD = _HEADER.size + _CRC.size
# COBS adds one byte per 254, and one; the delimiter is not counted.
MAX_ENCODED = MAX_PAYLOAD + _OVERHEAD + (MAX_PAYLOAD + _OVERHEAD) // 254 + 1


class MessageType(IntEnum):
    """Type of a frame."""

    HELLO = 0x01
    HELLO_ACK = 0x02
    ARM = 0x03
    DISARM = 0x04
    CLEAR_FAULT = 0x05
    ESTOP = 0x06
    ACK = 0x07
    COMMAND = 0x10
    STATE = 0x11


class Mode(IntEnum):
    """State of the motors: switched off, damped, or position control."""

    OFF = 0
    DAMP = 1
    POSITION = 2


class AckCode(IntEnum):
    """Result code of the board's answers."""

    OK = 0
    CHALLENGE = 1
    WRONG_MAJOR = 2
    WRONG_SCHEMA = 3
    BUSY = 4
    WRONG_SESSION = 5
    WRONG_NONCE = 6
    FAULT_LATCHED = 7


class BoardFault(IntFlag):
    """Fault bits, which a board latches until CLEAR_FAULT."""

    NONE = 0
    TIMEOUT = 1
    ESTOP = 2
    OVERHEAT = 4
    BROWN_OUT = 8
    IMU = 16


# Name, struct code and repetitions of each field: one table for codec, hash, document, C header.
_FieldTable = tuple[tuple[str, str, int], ...]
MESSAGES: Mapping[MessageType, _FieldTable] = {
    MessageType.HELLO: (
        ("major", "B", 1),
        ("minor", "B", 1),
        ("schema", "Q", 1),
        ("session", "I", 1),
    ),
    MessageType.HELLO_ACK: (
        ("major", "B", 1),
        ("minor", "B", 1),
        ("schema", "Q", 1),
        ("session", "I", 1),
        ("code", "B", 1),
        ("motors", "B", 1),
        ("robot_id", "16s", 1),
        ("firmware", "16s", 1),
        ("angle_limit_rad", "f", 1),
        ("kp_limit", "f", 1),
        ("kd_limit", "f", 1),
        ("torque_limit_nm", "f", 1),
        ("valid_limit_ms", "H", 1),
        ("zero_table", "I", 1),
        ("boot", "I", 1),
    ),
    MessageType.ARM: (("session", "I", 1), ("nonce", "I", 1), ("confirm", "B", 1)),
    MessageType.DISARM: (("session", "I", 1), ("nonce", "I", 1)),
    MessageType.CLEAR_FAULT: (("session", "I", 1), ("nonce", "I", 1)),
    MessageType.ESTOP: (("nonce", "I", 1),),
    MessageType.ACK: (("of", "B", 1), ("code", "B", 1), ("nonce", "I", 1), ("faults", "I", 1)),
    MessageType.COMMAND: (
        ("session", "I", 1),
        ("mode", "B", 1),
        ("reserved", "B", 1),
        ("valid_ms", "H", 1),
        ("torque_cap_nm", "f", 1),
        ("angle_rad", "f", N_MOTORS),
        ("velocity_rad_s", "f", N_MOTORS),
        ("feed_forward", "f", N_MOTORS),
        ("kp", "f", N_MOTORS),
        ("kd", "f", N_MOTORS),
    ),
    MessageType.STATE: (
        ("session", "I", 1),
        ("last_seq", "H", 1),
        ("mode", "B", 1),
        ("armed", "B", 1),
        ("faults", "I", 1),
        ("accepted", "I", 1),
        ("refused", "I", 1),
        ("damaged", "I", 1),
        ("battery_v", "f", 1),
        ("battery_a", "f", 1),
        ("angle_rad", "f", N_MOTORS),
        ("velocity_rad_s", "f", N_MOTORS),
        ("current_a", "f", N_MOTORS),
        ("temperature_c", "f", N_MOTORS),
        ("attitude_xyzw", "f", 4),
        ("angular_velocity_rad_s", "f", 3),
        ("acceleration_m_s2", "f", 3),
    ),
}


def schema_text() -> str:
    """The table of messages as canonical text, one line per message; the hash is over it."""
    return "".join(
        f"{kind.value:02x} {kind.name} "
        + " ".join(f"{name}:{code}x{count}" for name, code, count in fields)
        + "\n"
        for kind, fields in MESSAGES.items()
    )


SCHEMA_HASH = int.from_bytes(hashlib.sha256(schema_text().encode()).digest()[:8], "little")
"""Host and board must agree on this hash; it changes whenever a field does."""

_STRUCTS = {
    kind: struct.Struct("<" + "".join(code if n == 1 else f"{n}{code}" for _, code, n in fields))
    for kind, fields in MESSAGES.items()
}


def _places(fields: _FieldTable) -> tuple[tuple[str, int | slice], ...]:
    """Index or slice of each field in the flat tuple of numbers."""
    places: list[tuple[str, int | slice]] = []
    start = 0
    for name, _, count in fields:
        places.append((name, start if count == 1 else slice(start, start + count)))
        start += count
    return tuple(places)


_PLACES = {kind: _places(fields) for kind, fields in MESSAGES.items()}
_NAMES = {kind: frozenset(name for name, _, _ in fields) for kind, fields in MESSAGES.items()}
assert max(layout.size for layout in _STRUCTS.values()) <= MAX_PAYLOAD


class ProtocolError(ValueError):
    """A message can't be encoded: a field is missing, unknown, or out of range."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame whose CRC and size are correct.

    Attributes:
        kind: type of the message.
        flags: reserved, 0.
        seq: sequence number, wraps at 2^16.
        time_us: clock of the sender, us; wraps after 71 minutes.
        payload: bytes of its fields, see `fields_of`.
    """

    kind: MessageType
    flags: int
    seq: int
    time_us: int
    payload: bytes


def payload_size(kind: MessageType) -> int:
    """Size of a message's payload, bytes."""
    return _STRUCTS[kind].size


def encode(kind: MessageType, fields: Mapping[str, Any], seq: int, time_us: int) -> bytes:
    """Encode a message as a complete frame including the delimiter.

    Args:
        kind: type of the message.
        fields: all its fields by name; numbers, or sequences for repeated fields.
        seq: sequence number, taken modulo 2^16.
        time_us: clock of the sender, us, taken modulo 2^32.

    Raises:
        ProtocolError: a field is missing, unknown, of the wrong length, or out of its range.
    """
    table = MESSAGES[kind]
    if fields.keys() != _NAMES[kind]:
        odd = sorted(fields.keys() ^ _NAMES[kind])
        raise ProtocolError(f"{kind.name}: missing or unknown fields {odd}")
    flat: list[Any] = []
    for name, _, count in table:
        if count == 1:
            flat.append(fields[name])
            continue
        values = fields[name]
        if len(values) != count:
            raise ProtocolError(f"{kind.name}.{name} has {len(values)} numbers, not {count}")
        flat.extend(values)
    try:
        payload = _STRUCTS[kind].pack(*flat)
    except (struct.error, OverflowError) as error:
        raise ProtocolError(f"{kind.name}: {error}") from None
    return encode_payload(kind, payload, seq, time_us)


def encode_payload(
    kind: int, payload: bytes, seq: int = 0, time_us: int = 0, flags: int = 0
) -> bytes:
    """Encode a frame around any payload, valid or not; tests use it for invalid ones."""
    body = _HEADER.pack(kind, flags, seq & 0xFFFF, time_us & 0xFFFFFFFF) + payload
    return bytes(cobs.encode(body + _CRC.pack(zlib.crc32(body)))) + b"\0"


def fields_of(frame: Frame) -> dict[str, Any]:
    """Decode the payload: fields by name, as numbers, bytes, or tuples for repeated fields."""
    flat = _STRUCTS[frame.kind].unpack(frame.payload)
    return {name: flat[place] for name, place in _PLACES[frame.kind]}


class Decoder:
    """Decodes a stream of bytes, in chunks of any size, into frames.

    Buffers at most one frame. After damage, decoding resumes at the next delimiter.

    Attributes:
        frames: number of valid frames.
        damaged: number of non-empty pieces between delimiters that were not valid frames.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.damaged = 0
        self._piece = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the valid frames that these bytes complete."""
        *ends, rest = data.split(b"\0")
        for end in ends:
            self._take(end)
            frame = self._finish()
            if frame is not None:
                yield frame
        self._take(rest)

    def _take(self, part: bytes) -> None:
        room = MAX_ENCODED - len(self._piece)
        self._too_long = self._too_long or len(part) > room
        self._piece += part[:room]

    def _finish(self) -> Frame | None:
        piece, too_long = bytes(self._piece), self._too_long
        self._piece.clear()
        self._too_long = False
        if not piece:
            return None  # two delimiters in a row: a sender clears the line that way
        frame = None if too_long else decode(piece)
        if frame is None:
            self.damaged += 1
        else:
            self.frames += 1
        return frame


def decode(piece: bytes) -> Frame | None:
    """Decode the bytes between two delimiters; None if they are not a valid frame."""
    try:
        body = bytes(cobs.decode(piece))
    except cobs.DecodeError:
        return None
    if len(body) < _OVERHEAD:
        return None
    content, (crc,) = body[: -_CRC.size], _CRC.unpack_from(body, len(body) - _CRC.size)
    if zlib.crc32(content) != crc:
        return None
    kind, flags, seq, time_us = _HEADER.unpack_from(content)
    payload = content[_HEADER.size :]
    try:
        known = MessageType(kind)
    except ValueError:
        return None
    if len(payload) != _STRUCTS[known].size:
        return None
    return Frame(known, flags, seq, time_us, payload)
